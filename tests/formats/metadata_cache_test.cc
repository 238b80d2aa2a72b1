// The cache of slices of metadata tables.
#include "formats/metadata_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

namespace qcowkit {
namespace {

constexpr std::size_t kSlice = 512;
constexpr std::size_t kSlicesMax = 8;

Buffer filled(unsigned char value) {
  Buffer buffer(kSlice);
  std::memset(buffer.data(), value, kSlice);
  return buffer;
}

class MetadataCacheTest : public testing::Test {
 protected:
  MetadataCache::Slice& insert(std::uint64_t index, unsigned char value = 0) {
    return cache_.insert(index * kSlice, filled(value));
  }
  bool has(std::uint64_t index) { return cache_.find(index * kSlice) != nullptr; }

  MetadataCache cache_{kSlice, kSlicesMax};
};

TEST_F(MetadataCacheTest, ASliceIsFoundByItsHostOffset) {
  insert(3, 7);
  EXPECT_FALSE(has(2));
  ASSERT_TRUE(has(3));
  EXPECT_EQ(cache_.find(3 * kSlice)->host_offset(), 3 * kSlice);
  EXPECT_EQ(cache_.find(3 * kSlice)->data()[kSlice - 1], std::byte{7});
}

TEST_F(MetadataCacheTest, AFullCacheDropsCleanSlices) {
  for (std::uint64_t i = 0; i < 100; ++i) insert(i);
  std::size_t present = 0;
  for (std::uint64_t i = 0; i < 100; ++i) present += has(i);
  EXPECT_EQ(present, kSlicesMax);
  EXPECT_TRUE(has(99));
}

TEST_F(MetadataCacheTest, DirtySlicesAreNeverDropped) {
  for (std::uint64_t i = 0; i < 3 * kSlicesMax; ++i) cache_.mark_dirty(insert(i));
  EXPECT_EQ(cache_.dirty_count(), 3 * kSlicesMax) << "the bound gives way";
  for (std::uint64_t i = 0; i < 3 * kSlicesMax; ++i) EXPECT_TRUE(has(i));
}

TEST_F(MetadataCacheTest, SlicesBeingWrittenAreNotDropped) {
  cache_.mark_dirty(insert(0));
  const auto written = cache_.begin_write();
  EXPECT_EQ(cache_.dirty_count(), 0u);
  for (std::uint64_t i = 1; i < 100; ++i) insert(i);
  EXPECT_TRUE(has(0));
  cache_.end_write(written, true);
  for (std::uint64_t i = 100; i < 200; ++i) insert(i);
  EXPECT_FALSE(has(0));
}

TEST_F(MetadataCacheTest, AFailedWriteLeavesTheSlicesDirty) {
  cache_.mark_dirty(insert(0));
  cache_.end_write(cache_.begin_write(), false);
  EXPECT_EQ(cache_.dirty_count(), 1u);
  EXPECT_EQ(cache_.begin_write().size(), 1u);
}

TEST_F(MetadataCacheTest, AChangeDuringAWriteMakesDirtyAgain) {
  MetadataCache::Slice& slice = insert(0);
  cache_.mark_dirty(slice);
  const auto written = cache_.begin_write();
  cache_.mark_dirty(slice);
  cache_.end_write(written, true);
  EXPECT_TRUE(slice.is_dirty());
  EXPECT_EQ(cache_.dirty_count(), 1u);
}

TEST_F(MetadataCacheTest, OnlyIdleLeavesOutWhatIsOnItsWay) {
  MetadataCache::Slice& first = insert(0);
  MetadataCache::Slice& second = insert(1);
  cache_.mark_dirty(first);
  const auto written = cache_.begin_write();
  cache_.mark_dirty(first);
  cache_.mark_dirty(second);
  EXPECT_EQ(cache_.begin_write(true), std::vector{&second});
  EXPECT_EQ(cache_.dirty_count(), 1u);
  cache_.end_write(written, true);
  EXPECT_EQ(cache_.begin_write(true), std::vector{&first});
}

TEST_F(MetadataCacheTest, AForgottenSliceIsGoneDirtyOrNot) {
  cache_.mark_dirty(insert(0));
  insert(1);
  cache_.forget(0);
  cache_.forget(kSlice);
  cache_.forget(2 * kSlice);
  EXPECT_FALSE(has(0));
  EXPECT_FALSE(has(1));
  EXPECT_TRUE(cache_.begin_write().empty());
}

TEST_F(MetadataCacheTest, ASliceForgottenDuringItsWriteMayComeBackAnew) {
  cache_.mark_dirty(insert(0, 1));
  const auto written = cache_.begin_write();
  cache_.forget(0);
  MetadataCache::Slice& anew = insert(0, 2);
  cache_.end_write(written, false);
  EXPECT_EQ(cache_.find(0), &anew);
  EXPECT_EQ(anew.data()[0], std::byte{2});
  EXPECT_FALSE(anew.is_dirty()) << "the failed write was not its own";
  EXPECT_EQ(cache_.dirty_count(), 0u);
}

TEST(MetadataCache, FindsTheRightSlicesThroughRandomComingAndGoing) {
  MetadataCache cache(kSlice, 1000);
  std::map<std::uint64_t, unsigned char> model;
  std::mt19937_64 random(1);
  for (int step = 0; step < 20000; ++step) {
    const std::uint64_t offset = random() % 900 * kSlice;
    const auto known = model.find(offset);
    const MetadataCache::Slice* found = cache.find(offset);
    ASSERT_EQ(found != nullptr, known != model.end()) << step;
    if (found == nullptr) {
      const auto value = static_cast<unsigned char>(random());
      cache.insert(offset, filled(value));
      model[offset] = value;
    } else {
      ASSERT_EQ(found->data()[0], std::byte{known->second}) << step;
      cache.forget(offset);
      model.erase(known);
    }
  }
}

TEST_F(MetadataCacheTest, UnusedCleanSlicesAreDroppedTheSecondTime) {
  insert(1);
  insert(2);
  cache_.mark_dirty(insert(3));
  cache_.drop_unused();  // all have just been used
  EXPECT_TRUE(has(1));
  cache_.drop_unused();  // 1 has been found since
  EXPECT_TRUE(has(1));
  EXPECT_FALSE(has(2));
  EXPECT_TRUE(has(3));
  insert(2, 7);
  EXPECT_EQ(cache_.find(2 * kSlice)->data()[0], std::byte{7});
}

}  // namespace
}  // namespace qcowkit
