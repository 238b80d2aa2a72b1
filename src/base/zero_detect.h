// Whether a block of bytes is all zeroes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace qcowkit {

/// True if every byte is zero. Returns as soon as one is not, so data costs next to nothing.
inline bool is_zero(std::span<const std::byte> bytes) noexcept {
  constexpr std::size_t kHead = 16;
  if (bytes.size() < kHead) {
    for (const std::byte b : bytes) {
      if (b != std::byte{0}) return false;
    }
    return true;
  }
  std::uint64_t head[2];
  static_assert(sizeof head == kHead);
  std::memcpy(head, bytes.data(), kHead);
  if ((head[0] | head[1]) != 0) return false;
  // Each byte equals the one 16 before it, and the first 16 are zero. memcmp is the widest loop
  // that the processor has.
  return std::memcmp(bytes.data(), bytes.data() + kHead, bytes.size() - kHead) == 0;
}

}  // namespace qcowkit
