// Tables in memory, and the order in which they may reach the disk.
#include "formats/cached_tables.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <utility>

#include "base/endian.h"
#include "storage/memory_storage.h"

namespace qcowkit {
namespace {

using Stage = CachedTables::Dirty::Stage;

constexpr std::uint64_t kSliceBytes = 512;
constexpr std::uint64_t kTableBytes = 4 * kSliceBytes;
constexpr HostOffset kL1{1024};
/// No multiple of a table's size: QCOW asks for none.
constexpr HostOffset kTable{8192 + kSliceBytes};

Buffer slice_of(std::byte value) {
  Buffer slice(kSliceBytes);
  std::memset(slice.data(), static_cast<int>(value), slice.size());
  return slice;
}

class CachedTablesTest : public testing::Test {
 protected:
  CachedTablesTest() { tables_.start_from(std::vector<std::uint64_t>(100), kL1, kTableBytes); }

  /// Links `kTable` with its second slice in the cache.
  void link(std::uint64_t index) {
    tables_.link(index, kTable.value,
                 {.host_offset = kTable,
                  .slice_host_offset = kTable.value + kSliceBytes,
                  .slice = slice_of(std::byte{1}),
                  .is_dirty = true});
  }

  CachedTables tables_{kSliceBytes, 64 * kSliceBytes};
};

TEST_F(CachedTablesTest, NewTableIsWrittenApartFromWhatPointsAtIt) {
  link(70);
  CachedTables::Dirty dirty = tables_.begin_write();
  MemoryStorage unlinked;
  dirty.unlinked.write_to(unlinked);
  EXPECT_EQ(unlinked.size(), kTable.value + 2 * kSliceBytes);
  MemoryStorage linked;
  dirty.linked.write_to(linked);
  std::array<std::byte, 8> entry{};
  linked.read(kL1.value + 70 * 8, entry);
  EXPECT_EQ(load_big_endian<std::uint64_t>(entry.data()), kTable.value);
}

TEST_F(CachedTablesTest, TableInUseIsWrittenWithWhatNeedsOrder) {
  link(0);
  CachedTables::Dirty dirty = tables_.begin_write();
  dirty.stage = Stage::done;
  tables_.end_write(dirty);
  tables_.mark_dirty(*tables_.find(kTable.value + kSliceBytes));
  dirty = tables_.begin_write();
  EXPECT_TRUE(dirty.unlinked.empty());
  EXPECT_FALSE(dirty.linked.empty());
}

TEST_F(CachedTablesTest, WhatFailedToBeWrittenIsStillDirty) {
  link(0);
  CachedTables::Dirty dirty = tables_.begin_write();
  dirty.stage = Stage::begun;
  tables_.end_write(dirty);
  dirty = tables_.begin_write();
  EXPECT_FALSE(dirty.unlinked.empty()) << "nothing on the disk points at it";
  dirty.stage = Stage::tables_durable;
  tables_.end_write(dirty);
  dirty = tables_.begin_write();
  EXPECT_TRUE(dirty.unlinked.empty()) << "the disk may point at it by now";
  EXPECT_FALSE(dirty.linked.empty());
}

TEST_F(CachedTablesTest, SliceReadBeforeAChangeOfTheDiskIsNotTaken) {
  const std::uint64_t generation = tables_.generation();
  tables_.insert_read(4096, slice_of(std::byte{1}), generation);
  EXPECT_NE(tables_.find(4096), nullptr);
  link(0);
  tables_.insert_read(kTable.value, slice_of(std::byte{2}), generation);
  EXPECT_EQ(tables_.find(kTable.value), nullptr);
}

TEST_F(CachedTablesTest, WhatWasKnownOfATablesPlaceIsForgotten) {
  tables_.insert_read(kTable.value, slice_of(std::byte{9}), tables_.generation());
  link(0);
  EXPECT_EQ(tables_.find(kTable.value), nullptr);
  EXPECT_NE(tables_.find(kTable.value + kSliceBytes), nullptr);
}

TEST_F(CachedTablesTest, StartingAnewForgetsWhatIsDirty) {
  link(0);
  tables_.start_from(std::vector<std::uint64_t>(2), kL1, kTableBytes);
  const CachedTables::Dirty dirty = tables_.begin_write();
  EXPECT_TRUE(dirty.unlinked.empty());
  EXPECT_TRUE(dirty.linked.empty());
}

}  // namespace
}  // namespace qcowkit
