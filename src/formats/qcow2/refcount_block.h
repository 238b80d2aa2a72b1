// The entries of a refcount block, 1 to 64 bits wide (qcow2 spec, Host cluster management). No
// I/O, no locks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/endian.h"

namespace qcowkit::qcow2 {

/// Reads entry `index` of a block (or of a slice of one: `index` counts from the slice's start).
inline std::uint64_t load_refcount(const std::byte* block, std::uint64_t index,
                                   std::uint32_t refcount_order) noexcept {
  switch (refcount_order) {
    case 3:
      return static_cast<std::uint64_t>(block[index]);
    case 4:
      return load_big_endian<std::uint16_t>(block + index * 2);
    case 5:
      return load_big_endian<std::uint32_t>(block + index * 4);
    case 6:
      return load_big_endian<std::uint64_t>(block + index * 8);
    default: {  // 1, 2 or 4 bits; the first entry is in the least significant bits
      const std::uint32_t bits = 1u << refcount_order;
      const std::uint64_t bit = index << refcount_order;
      const auto shift = static_cast<std::uint32_t>(bit % 8);
      return static_cast<std::uint64_t>(block[bit / 8]) >> shift & ((1u << bits) - 1);
    }
  }
}

/// Writes entry `index`; `value` must fit its width.
inline void store_refcount(std::byte* block, std::uint64_t index, std::uint32_t refcount_order,
                           std::uint64_t value) noexcept {
  switch (refcount_order) {
    case 3:
      block[index] = static_cast<std::byte>(value);
      return;
    case 4:
      store_big_endian(block + index * 2, static_cast<std::uint16_t>(value));
      return;
    case 5:
      store_big_endian(block + index * 4, static_cast<std::uint32_t>(value));
      return;
    case 6:
      store_big_endian(block + index * 8, value);
      return;
    default: {
      const std::uint32_t bits = 1u << refcount_order;
      const std::uint64_t bit = index << refcount_order;
      const auto shift = static_cast<std::uint32_t>(bit % 8);
      const auto mask = static_cast<std::byte>(((1u << bits) - 1) << shift);
      block[bit / 8] = (block[bit / 8] & ~mask) | static_cast<std::byte>(value << shift);
      return;
    }
  }
}

}  // namespace qcowkit::qcow2
