// Little-endian integers, in which ciphers count.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace qcowkit::crypto {

constexpr std::uint64_t little_endian(std::uint64_t value) noexcept {
  return std::endian::native == std::endian::little ? value : __builtin_bswap64(value);
}

inline std::uint64_t load_little_endian(const std::byte* from) noexcept {
  std::uint64_t raw;
  std::memcpy(&raw, from, sizeof raw);
  return little_endian(raw);
}

inline void store_little_endian(std::byte* to, std::uint64_t value) noexcept {
  const std::uint64_t raw = little_endian(value);
  std::memcpy(to, &raw, sizeof raw);
}

}  // namespace qcowkit::crypto
