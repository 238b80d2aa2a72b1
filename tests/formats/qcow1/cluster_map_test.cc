// The cluster map by itself: look-ups through slices, and what the write-back is told.
#include "formats/qcow1/cluster_map.h"

#include <gtest/gtest.h>

#include "storage/memory_storage.h"
#include "tests/support/errors.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::qcow1 {
namespace {

using Stage = CachedTables::Dirty::Stage;

constexpr std::uint64_t kCluster = 512;
constexpr HostOffset kFirstTable{4096};
constexpr HostOffset kSecondTable{4096 + 65536};

/// Tables of 64 KiB, of which the cache holds four slices of 4 KiB.
class Qcow1ClusterMap : public testing::Test {
 protected:
  static Header header() {
    Header header;
    header.size = 16 << 20;
    header.cluster_bits = 9;
    header.l2_bits = 13;
    header.lay_out();
    return header;
  }
  void replace(GuestOffset first, const std::vector<std::uint64_t>& entries) {
    std::size_t replaced = 0;
    map_.replace_entries(first, entries, replaced);
    EXPECT_EQ(replaced, entries.size());
  }
  void write_back(bool succeeds = true) {
    ClusterMap::Dirty dirty = map_.begin_write();
    if (succeeds) {
      dirty.unlinked.write_to(file_);
      dirty.linked.write_to(file_);
    }
    dirty.stage = succeeds ? Stage::done : Stage::begun;
    map_.end_write(dirty);
  }

  MemoryStorage file_;
  ClusterMap map_{file_, header(), 0};
};

constexpr GuestOffset cluster(std::uint64_t number) { return {number * kCluster}; }

TEST_F(Qcow1ClusterMap, RunGoesOnThroughSlicesAndTablesThatAreCached) {
  map_.install_table(cluster(0), kFirstTable);
  map_.install_table(cluster(8192), kSecondTable);
  std::vector<std::uint64_t> entries(600);
  for (std::size_t i = 0; i < entries.size(); ++i) entries[i] = (1 << 20) + i * kCluster;
  replace(cluster(8192 - 300), {entries.begin(), entries.begin() + 300});
  replace(cluster(8192), {entries.begin() + 300, entries.end()});
  const LayerExtent extent = map_.find(cluster(8192 - 300) + 5, 16 << 19);
  EXPECT_EQ(extent.kind, ExtentKind::data);
  EXPECT_EQ(extent.host_offset.value, (1u << 20) + 5);
  EXPECT_EQ(extent.length_bytes, 600 * kCluster - 5);
}

TEST_F(Qcow1ClusterMap, RunEndsWhereTheNextClusterLiesElsewhere) {
  map_.install_table(cluster(0), kFirstTable);
  replace(cluster(0), {1 << 20, (1 << 20) + 512, 1 << 22, 0, 0, 0, 1 << 23});
  EXPECT_EQ(map_.find(cluster(0), 1 << 20).length_bytes, 2 * kCluster);
  EXPECT_EQ(map_.find(cluster(2), 1 << 20).length_bytes, kCluster);
  EXPECT_EQ(map_.find(cluster(3), 1 << 20).length_bytes, 3 * kCluster);
  EXPECT_EQ(map_.find(cluster(3), 700).length_bytes, 700u);
}

TEST_F(Qcow1ClusterMap, LastClusterOfAllFilesIsNotContinued) {
  map_.install_table(cluster(0), kFirstTable);
  const std::uint64_t last = kFileEnd - kCluster;
  replace(cluster(0), {last, L2Mapping::kCompressed});
  EXPECT_EQ(map_.find(cluster(0), 1 << 20).length_bytes, kCluster);
  EXPECT_EQ(test::error_of([&] { map_.find(cluster(1), 1); }).code(), Errc::corrupt);
}

TEST_F(Qcow1ClusterMap, SlicesThatWereDroppedAreReadAgain) {
  map_.install_table(cluster(0), kFirstTable);
  for (std::uint64_t i = 0; i < 16; ++i) {
    replace(cluster(i * 512), {(1 << 20) + i * kCluster});
    write_back();
  }
  for (std::uint64_t i = 0; i < 16; ++i) {
    EXPECT_EQ(map_.find(cluster(i * 512), 1).host_offset.value, (1 << 20) + i * kCluster);
  }
}

TEST_F(Qcow1ClusterMap, NewTablesAreUnlinkedUntilTheirL1EntryIsWritten) {
  map_.install_table(cluster(0), kFirstTable);
  replace(cluster(0), {1 << 20});
  replace(cluster(5000), {1 << 21});
  ClusterMap::Dirty first = map_.begin_write();
  EXPECT_FALSE(first.unlinked.empty());
  EXPECT_EQ(first.slices.size(), 2u);
  EXPECT_EQ(first.l1_parts.size(), 1u);
  first.stage = Stage::done;
  map_.end_write(first);
  replace(cluster(1), {1 << 22});
  ClusterMap::Dirty second = map_.begin_write();
  EXPECT_TRUE(second.unlinked.empty());
  EXPECT_FALSE(second.linked.empty());
  second.stage = Stage::done;
  map_.end_write(second);
}

TEST_F(Qcow1ClusterMap, WhatCouldNotBeWrittenIsWrittenNextTime) {
  map_.install_table(cluster(0), kFirstTable);
  replace(cluster(0), {1 << 20});
  write_back(false);
  ClusterMap::Dirty again = map_.begin_write();
  EXPECT_FALSE(again.unlinked.empty()) << "nothing points at the table yet";
  EXPECT_EQ(again.slices.size(), 1u);
  EXPECT_EQ(again.l1_parts.size(), 1u);
  again.stage = Stage::done;
  map_.end_write(again);
}

TEST_F(Qcow1ClusterMap, AllIsReadAgainAfterAReload) {
  map_.install_table(cluster(0), kFirstTable);
  replace(cluster(0), {1 << 20});
  write_back();
  replace(cluster(1), {1 << 21});
  map_.reload();
  EXPECT_EQ(map_.find(cluster(0), 1).host_offset.value, 1u << 20);
  EXPECT_EQ(map_.find(cluster(1), 1).kind, ExtentKind::unallocated);
  map_.forget_all();
  EXPECT_EQ(map_.find(cluster(0), 16 << 20).length_bytes, 16u << 20);
}

}  // namespace
}  // namespace qcowkit::qcow1
