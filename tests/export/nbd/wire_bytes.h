// Messages of the protocol as bytes, to feed and to compare with.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "base/nbd_wire.h"

namespace qcowkit::nbd::test {

using Bytes = std::vector<std::byte>;

template <typename Raw>
void append(Bytes& bytes, const Raw& raw) {
  const auto* const from = reinterpret_cast<const std::byte*>(&raw);
  bytes.insert(bytes.end(), from, from + sizeof raw);
}
inline void append_text(Bytes& bytes, std::string_view text) {
  const auto* const from = reinterpret_cast<const std::byte*>(text.data());
  bytes.insert(bytes.end(), from, from + text.size());
}
inline void append_counted(Bytes& bytes, std::string_view text) {
  append(bytes, be32(static_cast<std::uint32_t>(text.size())));
  append_text(bytes, text);
}

/// The structure that `bytes` begin with.
template <typename Raw>
Raw first(std::span<const std::byte> bytes) {
  Raw raw{};
  std::memcpy(&raw, bytes.data(), std::min(sizeof raw, bytes.size()));
  return raw;
}

inline Bytes compact(Command command, std::uint64_t offset, std::uint32_t length,
                     std::uint16_t flags = 0, std::uint64_t cookie = 7) {
  Bytes bytes;
  append(bytes, CompactRequest{kRequestMagic, flags, static_cast<std::uint16_t>(command), cookie,
                               offset, length});
  return bytes;
}

inline Bytes extended(Command command, std::uint64_t offset, std::uint64_t length,
                      std::uint16_t flags = 0, std::uint64_t cookie = 7) {
  Bytes bytes;
  append(bytes, ExtendedRequest{kExtendedRequestMagic, flags, static_cast<std::uint16_t>(command),
                                cookie, offset, length});
  return bytes;
}

/// The data of `NBD_OPT_INFO` and `NBD_OPT_GO`.
inline Bytes info_data(std::string_view name, std::vector<std::uint16_t> types = {}) {
  Bytes bytes;
  append_counted(bytes, name);
  append(bytes, be16(static_cast<std::uint16_t>(types.size())));
  for (const std::uint16_t type : types) append(bytes, be16(type));
  return bytes;
}

/// The data of `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`.
inline Bytes context_data(std::string_view name, const std::vector<std::string_view>& queries) {
  Bytes bytes;
  append_counted(bytes, name);
  append(bytes, be32(static_cast<std::uint32_t>(queries.size())));
  for (const std::string_view query : queries) append_counted(bytes, query);
  return bytes;
}

}  // namespace qcowkit::nbd::test
