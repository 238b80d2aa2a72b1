// What clients say while they negotiate (NBD protocol, "Option types"). No I/O, no locks: bytes in,
// checked values out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/nbd_wire.h"

namespace qcowkit::nbd {

/// Option data beyond this are not looked at.
inline constexpr std::uint32_t kOptionBytesMax = 64 * 1024;

struct OptionStart {
  Option option{};  ///< may be one that `Option` does not name
  std::uint32_t length_bytes = 0;
};
/// Nothing if the magic is wrong.
std::optional<OptionStart> parse_option_start(std::span<const std::byte, 16> bytes) noexcept;

/// A string of the protocol: at most 4096 bytes, none of them zero. Nothing if it is none.
std::optional<std::string> parse_string(std::span<const std::byte> bytes);

/// The data of `NBD_OPT_INFO` and `NBD_OPT_GO`.
struct InfoRequest {
  std::string export_name;
  bool wants_name = false;
  bool wants_description = false;
  bool wants_block_size = false;
};
/// Nothing if the lengths do not fit each other or a string is none.
std::optional<InfoRequest> parse_info_request(std::span<const std::byte> data);

/// The data of `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`.
struct MetaContextRequest {
  std::string export_name;
  std::vector<std::string> queries;
};
/// Nothing in the same cases.
std::optional<MetaContextRequest> parse_meta_context_request(std::span<const std::byte> data);

}  // namespace qcowkit::nbd
