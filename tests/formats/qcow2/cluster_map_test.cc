// Where guest clusters are.
#include "formats/qcow2/cluster_map.h"

#include <gtest/gtest.h>

#include "tests/formats/qcow2/engine_fixture.h"
#include "tests/support/errors.h"

namespace qcowkit::qcow2 {
namespace {

using Stage = CachedTables::Dirty::Stage;

constexpr std::uint64_t kCluster = 4096;
constexpr std::uint64_t kTableCovers = kCluster / 8 * kCluster;
constexpr HostOffset kTable{100 * kCluster};
constexpr HostOffset kOtherTable{101 * kCluster};
constexpr HostOffset kData{200 * kCluster};

class ClusterMapTest : public testing::Test {
 protected:
  ClusterMapTest() {
    guard_.load(*storage_, header_);
    map_.load(header_);
  }

  void install(GuestOffset guest_offset = {0}, HostOffset table = kTable) {
    EXPECT_FALSE(map_.install_table(guest_offset, table));
  }
  void map(std::uint64_t first_cluster, const std::vector<RawL2Entry>& entries) {
    std::size_t replaced = 0;
    map_.replace_entries({first_cluster * kCluster}, entries, replaced);
    EXPECT_EQ(replaced, entries.size());
  }
  static RawL2Entry data(HostOffset host_offset) {
    return {host_offset.value | RawL2Entry::kCopied, 0};
  }
  void write_back() {
    ClusterMap::Dirty dirty = map_.begin_write();
    dirty.unlinked.write_to(*storage_);
    dirty.linked.write_to(*storage_);
    dirty.stage = Stage::done;
    map_.end_write(dirty);
  }

  const std::shared_ptr<MemoryStorage> storage_ = test::make_engine_image({.size = 8 << 20});
  const Header header_ = Qcow2Layer::read_header(*storage_);
  OverlapGuard guard_{overlap::kCached};
  ClusterMap map_{*storage_, storage_.get(), guard_, {header_.geometry(), true, false}, 1};
};

TEST_F(ClusterMapTest, WithoutTablesAllIsUnallocatedInOneRun) {
  const LayerExtent extent = map_.find({5}, header_.size - 5);
  EXPECT_EQ(extent.kind, ExtentKind::unallocated);
  EXPECT_EQ(extent.length_bytes, header_.size - 5);
  EXPECT_FALSE(map_.has_own_table({0}));
}

TEST_F(ClusterMapTest, AnEntryIsFoundWithTheOffsetInItsCluster) {
  install();
  map(3, {data(kData)});
  const LayerExtent extent = map_.find({3 * kCluster + 100}, kCluster);
  EXPECT_EQ(extent.kind, ExtentKind::data);
  EXPECT_EQ(extent.host_offset, kData + 100);
  EXPECT_EQ(extent.length_bytes, kCluster - 100);
  EXPECT_EQ(extent.storage, storage_.get());
}

TEST_F(ClusterMapTest, ARunGoesOnWhileTheHostDoes) {
  install();
  map(0, {data(kData), data(kData + kCluster), data(kData + 2 * kCluster), data(kData + kCluster)});
  EXPECT_EQ(map_.find({0}, 10 * kCluster).length_bytes, 3 * kCluster);
  EXPECT_EQ(map_.find({0}, 2 * kCluster + 7).length_bytes, 2 * kCluster + 7);
  EXPECT_EQ(map_.find({3 * kCluster}, 10 * kCluster).length_bytes, kCluster);
}

TEST_F(ClusterMapTest, ARunCrossesFromOneTableToTheNext) {
  install();
  install({kTableCovers}, kOtherTable);
  map(511, {data(kData)});
  map(512, {data(kData + kCluster)});
  EXPECT_EQ(map_.find({511 * kCluster}, 4 * kCluster).length_bytes, 2 * kCluster);
}

TEST_F(ClusterMapTest, ZeroAndUnallocatedAreNotOneRun) {
  install();
  map(0, {{RawL2Entry::kZero, 0}, {RawL2Entry::kZero, 0}, {}, {}});
  EXPECT_EQ(map_.find({0}, 4 * kCluster).kind, ExtentKind::zero);
  EXPECT_EQ(map_.find({0}, 4 * kCluster).length_bytes, 2 * kCluster);
  EXPECT_EQ(map_.find({2 * kCluster}, 2 * kCluster).kind, ExtentKind::unallocated);
}

TEST_F(ClusterMapTest, APreallocatedZeroClusterTellsItsPlace) {
  install();
  map(0, {{kData.value | RawL2Entry::kCopied | RawL2Entry::kZero, 0}});
  const LayerExtent extent = map_.find({10}, 100);
  EXPECT_EQ(extent.kind, ExtentKind::zero);
  EXPECT_TRUE(extent.has_host_offset);
  EXPECT_EQ(extent.host_offset, kData + 10);
}

TEST_F(ClusterMapTest, ACompressedClusterIsARunOfItsOwn) {
  install();
  const RawL2Entry entry = L2Mapping::encode_compressed(kData + 100, 700, header_.geometry());
  map(0, {entry, entry});
  const LayerExtent extent = map_.find({10}, 5 * kCluster);
  EXPECT_EQ(extent.kind, ExtentKind::compressed);
  EXPECT_EQ(extent.length_bytes, kCluster - 10);
  EXPECT_EQ(extent.host_offset, kData + 100) << "of the stream, wherever in the cluster one asks";
  EXPECT_GE(extent.compressed_bytes, 700u);
}

TEST_F(ClusterMapTest, OnlyWhatIsOursMayBeOverwritten) {
  install();
  map(0, {data(kData),
          data(kData + kCluster),
          {(kData + 2 * kCluster).value, 0},
          {RawL2Entry::kZero, 0}});
  const ClusterMap::InPlaceRun run = map_.find_in_place({50}, 4 * kCluster);
  EXPECT_EQ(run.host_offset, kData + 50);
  EXPECT_EQ(run.length_bytes, 2 * kCluster - 50) << "the third is shared";
  EXPECT_EQ(map_.find_in_place({2 * kCluster}, 100).length_bytes, 0u);
  EXPECT_EQ(map_.find_in_place({3 * kCluster}, 100).length_bytes, 0u);
  EXPECT_EQ(map_.find_in_place({9 * kCluster}, 100).length_bytes, 0u);
}

TEST_F(ClusterMapTest, NothingIsOverwrittenWhereTheTablesAre) {
  install();
  const HostOffset moved_table{300 * kCluster};
  for (const HostOffset place :
       {header_.l1_table_offset, header_.refcount_table_offset, moved_table}) {
    guard_.set_refcount_table(place == moved_table ? place : header_.refcount_table_offset,
                              kCluster);
    map(0, {data(place)});
    EXPECT_EQ(test::error_of([&] { map_.find_in_place({0}, 10); }).code(), Errc::corrupt);
    EXPECT_EQ(test::error_of([&] { map_.require_reusable({0}, place, 10); }).code(), Errc::corrupt);
    EXPECT_EQ(map_.find({0}, 10).kind, ExtentKind::data) << "reading does no harm";
  }
}

TEST_F(ClusterMapTest, ASharedTableIsCopiedBeforeItIsChanged) {
  install();
  map(7, {data(kData)});
  write_back();
  // As a snapshot leaves it.
  const be64 shared = kTable.value;
  storage_->write(header_.l1_table_offset.value, std::as_bytes(std::span(&shared, 1)));
  map_.load(header_);
  EXPECT_FALSE(map_.has_own_table({0}));
  EXPECT_EQ(map_.find_in_place({7 * kCluster}, 10).length_bytes, 0u);

  EXPECT_EQ(map_.install_table({0}, kOtherTable), kTable);
  EXPECT_TRUE(map_.has_own_table({0}));
  map(8, {data(kData + kCluster)});
  write_back();
  EXPECT_EQ(map_.find({7 * kCluster}, kCluster).host_offset, kData);
  EXPECT_EQ(test::field_of(*storage_, kTable.value + 8 * 8), 0u) << "the old one stays as it was";
  EXPECT_EQ(test::field_of(*storage_, kOtherTable.value + 8 * 8),
            data(kData + kCluster).descriptor);
}

TEST_F(ClusterMapTest, ANewTableIsWrittenBeforeItIsLinked) {
  install();
  map(0, {data(kData)});
  ClusterMap::Dirty dirty = map_.begin_write();
  EXPECT_FALSE(dirty.unlinked.empty()) << "the table";
  EXPECT_FALSE(dirty.linked.empty()) << "the L1 table";
  dirty.unlinked.write_to(*storage_);
  EXPECT_EQ(test::field_of(*storage_, kTable.value), data(kData).descriptor);
  EXPECT_EQ(test::field_of(*storage_, header_.l1_table_offset.value), 0u);
  dirty.linked.write_to(*storage_);
  dirty.stage = Stage::done;
  map_.end_write(dirty);

  map(1, {data(kData)});
  dirty = map_.begin_write();
  EXPECT_TRUE(dirty.unlinked.empty()) << "it is linked by now";
  EXPECT_FALSE(dirty.linked.empty());
  dirty.stage = Stage::done;
  map_.end_write(dirty);
}

TEST_F(ClusterMapTest, AfterAFailedWriteAllIsStillToBeWritten) {
  install();
  map(0, {data(kData)});
  ClusterMap::Dirty dirty = map_.begin_write();
  dirty.stage = Stage::begun;
  map_.end_write(dirty);
  dirty = map_.begin_write();
  EXPECT_FALSE(dirty.unlinked.empty());
  EXPECT_FALSE(dirty.linked.empty());
  dirty.stage = Stage::tables_durable;
  map_.end_write(dirty);
  dirty = map_.begin_write();
  EXPECT_TRUE(dirty.unlinked.empty()) << "the disk's L1 table may point at it";
  EXPECT_FALSE(dirty.linked.empty());
  dirty.stage = Stage::done;
  map_.end_write(dirty);
}

TEST_F(ClusterMapTest, MuchThatIsDirtyWantsToBeWrittenBack) {
  // The least cache holds four slices; half of them may be dirty.
  install();
  install({kTableCovers}, kOtherTable);
  EXPECT_FALSE(map_.wants_write_back());
  install({2 * kTableCovers}, {102 * kCluster});
  EXPECT_TRUE(map_.wants_write_back());
  write_back();
  EXPECT_FALSE(map_.wants_write_back());
}

TEST_F(ClusterMapTest, AnUnalignedTableIsCorrupt) {
  const be64 entry = kTable.value + 512;
  storage_->write(header_.l1_table_offset.value, std::as_bytes(std::span(&entry, 1)));
  map_.load(header_);
  const Error error = test::error_of([&] { map_.find({0}, 1); });
  EXPECT_EQ(error.code(), Errc::corrupt);
  EXPECT_TRUE(test::mentions(error, {"L1 table", "entry 0", "4096"}));
}

TEST_F(ClusterMapTest, ATableWhereTheHeaderIsIsNotChanged) {
  const be64 entry = header_.l1_table_offset.value | L1Entry::kCopied;
  storage_->write(header_.l1_table_offset.value, std::as_bytes(std::span(&entry, 1)));
  map_.load(header_);
  const Error error = test::error_of([&] { map_.has_own_table({0}); });
  EXPECT_EQ(error.code(), Errc::corrupt);
  EXPECT_TRUE(test::mentions(error, {"L1 table", "entry 0"}));
}

TEST(ClusterMapExtended, RunsAreMadeOfSubclusters) {
  const auto storage = test::make_engine_image({.cluster_size = 65536, .extended_l2 = true});
  const Header header = Qcow2Layer::read_header(*storage);
  OverlapGuard guard(overlap::kCached);
  ClusterMap map(*storage, storage.get(), guard, {header.geometry(), false, false}, 1);
  guard.load(*storage, header);
  map.load(header);
  map.install_table({0}, {20 << 16});
  constexpr std::uint64_t kSub = 2048;
  const std::uint64_t host = 30 << 16;
  const std::vector<RawL2Entry> entries = {
      {host | RawL2Entry::kCopied, 0x00000003'fffffff0},             // 4 to 31 data, 0 and 1 zero
      {(host + 65536) | RawL2Entry::kCopied, 0x00000000'00000007}};  // 0 to 2 data
  std::size_t replaced = 0;
  map.replace_entries({0}, entries, replaced);

  const auto extent = [&](std::uint64_t subcluster) {
    return map.find({subcluster * kSub}, 200 * kSub);
  };
  EXPECT_EQ(extent(0).kind, ExtentKind::zero);
  EXPECT_EQ(extent(0).length_bytes, 2 * kSub);
  EXPECT_EQ(extent(2).kind, ExtentKind::unallocated);
  EXPECT_EQ(extent(2).length_bytes, 2 * kSub);
  EXPECT_EQ(extent(4).kind, ExtentKind::data);
  EXPECT_EQ(extent(4).host_offset.value, host + 4 * kSub);
  EXPECT_EQ(extent(4).length_bytes, (28 + 3) * kSub) << "into the next cluster";
  EXPECT_EQ(extent(35).kind, ExtentKind::unallocated);
  EXPECT_EQ(map.find_in_place({4 * kSub}, 200 * kSub).length_bytes, 31 * kSub);
}

/// The map of an image with an external data file.
class ClusterMapDataFile : public testing::Test {
 protected:
  ClusterMapDataFile() {
    guard_.load(*storage_, header_);
    map_.load(header_);
    map_.install_table({0}, kTable);
  }

  const std::shared_ptr<MemoryStorage> storage_ = test::make_engine_image();
  const Header header_ = Qcow2Layer::read_header(*storage_);
  MemoryStorage data_file_;
  OverlapGuard guard_{overlap::kCached};
  ClusterMap map_{*storage_, &data_file_, guard_, {header_.geometry(), true, true}, 1};
  std::size_t replaced_ = 0;
};

TEST_F(ClusterMapDataFile, HostOffset0IsAPlaceLikeAnyOther) {
  const std::vector<RawL2Entry> entries = {
      {RawL2Entry::kCopied, 0}, {kCluster | RawL2Entry::kCopied, 0}, {0, 0}};
  map_.replace_entries({0}, entries, replaced_);
  EXPECT_EQ(map_.find({2 * kCluster}, kCluster).kind, ExtentKind::unallocated);
  const LayerExtent extent = map_.find({0}, 3 * kCluster);
  EXPECT_EQ(extent.kind, ExtentKind::data);
  EXPECT_EQ(extent.host_offset.value, 0u);
  EXPECT_EQ(extent.length_bytes, 2 * kCluster);
  EXPECT_EQ(extent.storage, &data_file_);
}

TEST_F(ClusterMapDataFile, AClusterElsewhereThanAtItsGuestOffsetIsNamed) {
  const std::vector<RawL2Entry> entries = {{0, 0}, {5 * kCluster | RawL2Entry::kCopied, 0}};
  map_.replace_entries({0}, entries, replaced_);
  EXPECT_EQ(map_.find({0}, kCluster).kind, ExtentKind::unallocated);
  const auto expect_corrupt = [](auto work) {
    const Error error = test::error_of(work);
    EXPECT_EQ(error.code(), Errc::corrupt);
    EXPECT_TRUE(test::mentions(error, {"L2 table", "external data file"}));
  };
  expect_corrupt([&] { map_.find({kCluster}, kCluster); });
  expect_corrupt([&] { map_.find_in_place({kCluster}, kCluster); });
}

}  // namespace
}  // namespace qcowkit::qcow2
