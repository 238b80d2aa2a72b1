// A byte vector as the model of a storage.
#pragma once

#include <gtest/gtest.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "qcowkit/storage.h"

namespace qcowkit::test {

using Bytes = std::vector<std::byte>;

/// Bytes none of which is zero; another `seed`, other bytes.
inline Bytes pattern(std::size_t length, unsigned seed) {
  Bytes bytes(length);
  for (std::size_t i = 0; i < length; ++i) {
    bytes[i] = static_cast<std::byte>(1 + (i * 7 + seed * 13 + i / 251) % 255);
  }
  return bytes;
}

inline Bytes read_all(Storage& storage, std::uint64_t offset, std::size_t length) {
  Bytes bytes(length, std::byte{0xee});
  storage.read(offset, bytes);
  return bytes;
}

inline bool is_zero(const Bytes& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

/// A byte vector that does what the storage is told, random requests, and a comparison.
class StorageModel {
 public:
  StorageModel(Storage& storage, std::uint64_t seed) : storage_(storage), random_(seed) {}

  void step() {
    const std::uint64_t offset = below(kReach);
    const std::uint64_t length = 1 + below(below(4) == 0 ? 40'000 : 3000);
    switch (below(8)) {
      case 0:
      case 1:
      case 2:
        write(offset, length);
        break;
      case 3:
        storage_.write_zeroes(offset, length, {.may_unmap = below(2) == 0});
        cover(offset, length);
        std::fill_n(at(offset), length, std::byte{0});
        break;
      case 4:
        discard(offset, length);
        break;
      case 5:
        if (below(4) == 0) resize(offset);
        break;
      default:
        check(offset, length);
    }
    ASSERT_EQ(storage_.size(), bytes_.size());
  }
  void check_all() { check(0, bytes_.size() + 1000); }

 private:
  static constexpr std::uint64_t kReach = 150'000;

  /// Often a multiple of the units in which files are kept.
  std::uint64_t below(std::uint64_t limit) {
    const std::uint64_t drawn = random_() % limit;
    if (limit < 100) return drawn;
    const std::uint64_t unit = std::array<std::uint64_t, 4>{1, 1, 512, 4096}[random_() % 4];
    return drawn / unit * unit;
  }
  Bytes::iterator at(std::uint64_t offset) {
    return bytes_.begin() + static_cast<std::ptrdiff_t>(offset);
  }
  void cover(std::uint64_t offset, std::uint64_t length) {
    bytes_.resize(std::max<std::size_t>(bytes_.size(), offset + length));
  }
  void write(std::uint64_t offset, std::uint64_t length) {
    Bytes bytes = pattern(length, static_cast<unsigned>(random_() % 1000));
    const std::uint64_t first = below(length + 1);
    const std::array<iovec, 2> from{
        {{bytes.data(), first}, {bytes.data() + first, length - first}}};
    storage_.writev(offset, from);
    cover(offset, length);
    std::copy(bytes.begin(), bytes.end(), at(offset));
  }
  void discard(std::uint64_t offset, std::uint64_t length) {
    storage_.discard(offset, length);
    if (offset >= bytes_.size()) return;
    // What is there now is not known, only that nothing else has changed.
    length = std::min<std::uint64_t>(length, bytes_.size() - offset);
    storage_.write_zeroes(offset, length, {});
    std::fill_n(at(offset), length, std::byte{0});
  }
  void resize(std::uint64_t size) {
    storage_.resize(size, static_cast<Preallocation>(below(4)));
    bytes_.resize(size);
  }
  void check(std::uint64_t offset, std::uint64_t length) {
    Bytes expected(length);
    for (std::uint64_t i = 0; i < length && offset + i < bytes_.size(); ++i) {
      expected[i] = bytes_[offset + i];
    }
    ASSERT_EQ(read_all(storage_, offset, length), expected) << offset << "+" << length;
    const StorageExtent extent = storage_.extent_at(offset, length);
    ASSERT_GE(extent.length_bytes, 1U);
    ASSERT_LE(extent.length_bytes, length);
    if (!extent.is_hole) return;
    expected.resize(extent.length_bytes);
    ASSERT_TRUE(is_zero(expected)) << "data called a hole at " << offset;
  }

  Storage& storage_;
  std::mt19937_64 random_;
  Bytes bytes_;
};

}  // namespace qcowkit::test
