// Bytes to fill disks with, made from a number.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

namespace qcowkit::test {

/// Fills `into` with bytes that depend on `content` alone. By its remainder modulo 4: zeroes, one
/// byte all over, a short pattern (compresses well), noise (does not).
inline void fill_content(std::uint64_t content, std::span<std::byte> into) {
  switch (content % 4) {
    case 0:
      std::memset(into.data(), 0, into.size());
      return;
    case 1:
      std::memset(into.data(), static_cast<int>(1 + content / 4 % 255), into.size());
      return;
    case 2:
      for (std::size_t i = 0; i < into.size(); ++i) {
        into[i] = static_cast<std::byte>(1 + (content / 4 + i * i / 64) % 61);
      }
      return;
    default:
      std::mt19937_64 noise(content);
      for (std::size_t i = 0; i < into.size(); i += 8) {
        const std::uint64_t word = noise();
        std::memcpy(into.data() + i, &word, std::min<std::size_t>(8, into.size() - i));
      }
      return;
  }
}

inline std::vector<std::byte> make_content(std::uint64_t content, std::size_t size_bytes) {
  std::vector<std::byte> bytes(size_bytes);
  fill_content(content, bytes);
  return bytes;
}

/// Whole disks are compared again and again: unoptimised, the algorithms would go byte by byte.
inline bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

}  // namespace qcowkit::test
