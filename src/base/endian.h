// Big-endian fields of on-disk structures.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace qcowkit {

namespace detail {
constexpr std::uint16_t byte_swap(std::uint16_t v) noexcept { return __builtin_bswap16(v); }
constexpr std::uint32_t byte_swap(std::uint32_t v) noexcept { return __builtin_bswap32(v); }
constexpr std::uint64_t byte_swap(std::uint64_t v) noexcept { return __builtin_bswap64(v); }
}  // namespace detail

/// Converts between host order and big-endian order (its own inverse).
template <typename T>
constexpr T big_endian(T value) noexcept {
  if constexpr (std::endian::native == std::endian::big) {
    return value;
  } else {
    return detail::byte_swap(value);
  }
}

/// An unsigned integer stored big-endian, of alignment 1, for use in on-disk structs.
template <typename T>
class BigEndian {
 public:
  constexpr BigEndian() noexcept = default;
  constexpr BigEndian(T value) noexcept  // NOLINT: implicit on purpose, fields read like integers
      : bytes_(std::bit_cast<Bytes>(big_endian(value))) {}
  constexpr operator T() const noexcept { return big_endian(std::bit_cast<T>(bytes_)); }  // NOLINT

 private:
  struct Bytes {
    std::byte b[sizeof(T)];
  };
  Bytes bytes_{};
};

using be16 = BigEndian<std::uint16_t>;
using be32 = BigEndian<std::uint32_t>;
using be64 = BigEndian<std::uint64_t>;
static_assert(sizeof(be64) == 8 && alignof(be64) == 1 && std::is_trivially_copyable_v<be64>);

/// Loads / stores one big-endian integer at an unaligned place.
template <typename T>
T load_big_endian(const void* from) noexcept {
  T raw;
  std::memcpy(&raw, from, sizeof raw);
  return big_endian(raw);
}
template <typename T>
void store_big_endian(void* to, T value) noexcept {
  const T raw = big_endian(value);
  std::memcpy(to, &raw, sizeof raw);
}

}  // namespace qcowkit
