// Memory as a storage: what it adds to the contract of all storages.
#include "storage/memory_storage.h"

#include <gtest/gtest.h>

#include <vector>

namespace qcowkit {
namespace {

using Bytes = std::vector<std::byte>;
constexpr std::uint64_t kPage = 4096;

TEST(MemoryStorage, FarAwayBytesTakeOnlyTheirPages) {
  MemoryStorage storage;
  const std::uint64_t far = std::uint64_t{1} << 50;
  storage.write(far, Bytes(1, std::byte{1}));
  EXPECT_EQ(storage.size(), far + 1);
  EXPECT_EQ(storage.allocated_bytes(), kPage);
  const StorageExtent hole = storage.extent_at(0, far + 1);
  EXPECT_TRUE(hole.is_hole);
  EXPECT_EQ(hole.length_bytes, far);
}

TEST(MemoryStorage, ExtentsEndWhereDataAndHolesMeet) {
  MemoryStorage storage;
  storage.write(16 * kPage - 1, Bytes(2 * kPage, std::byte{1}));  // across a chunk's end
  EXPECT_EQ(storage.extent_at(0, 100 * kPage).length_bytes, 15 * kPage);
  const StorageExtent data = storage.extent_at(15 * kPage, 100 * kPage);
  EXPECT_FALSE(data.is_hole);
  EXPECT_EQ(data.length_bytes, storage.size() - 15 * kPage);
  EXPECT_EQ(storage.extent_at(storage.size(), 7).length_bytes, 7U);
}

TEST(MemoryStorage, ZeroesGiveWholePagesBackOnlyIfTheyMay) {
  MemoryStorage storage;
  storage.write(0, Bytes(8 * kPage, std::byte{1}));
  storage.write_zeroes(0, 8 * kPage, {.may_unmap = false});
  EXPECT_EQ(storage.allocated_bytes(), 8 * kPage);
  storage.write_zeroes(1, 3 * kPage, {.may_unmap = true});
  EXPECT_EQ(storage.allocated_bytes(), 6 * kPage);
  EXPECT_TRUE(storage.extent_at(kPage, 1).is_hole);
  EXPECT_FALSE(storage.extent_at(0, 1).is_hole);
}

TEST(MemoryStorage, CloneGoesItsOwnWay) {
  MemoryStorage storage;
  storage.write(5, Bytes(70'000, std::byte{1}));
  const auto copy = storage.clone();
  storage.write(5, Bytes(10, std::byte{2}));
  copy->resize(100'000, Preallocation::off);
  Bytes byte(1);
  copy->read(5, byte);
  EXPECT_EQ(byte[0], std::byte{1});
  EXPECT_EQ(storage.size(), 70'005U);
  EXPECT_EQ(copy->size(), 100'000U);
}

}  // namespace
}  // namespace qcowkit
