// The write-back and its order.
#include "formats/qcow2/metadata.h"

#include <gtest/gtest.h>

#include "tests/formats/qcow2/engine_fixture.h"
#include "tests/support/errors.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::qcow2 {
namespace {

constexpr std::uint64_t kCluster = 4096;

class MetadataTest : public testing::Test {
 protected:
  explicit MetadataTest(const test::EngineOptions& options = {})
      : image_(test::make_engine_image(options)),
        storage_(image_),
        metadata_(storage_, nullptr, Qcow2Layer::read_header(*image_), {}) {}

  /// Maps a guest cluster to a new host cluster.
  HostOffset link(std::uint64_t guest_cluster) {
    const GuestOffset guest_offset{guest_cluster * kCluster};
    metadata_.before_change();
    const HostRun run = metadata_.allocate(1);
    metadata_.own_table(guest_offset);
    set_entry(guest_offset, {run.host_offset.value | RawL2Entry::kCopied, 0});
    return run.host_offset;
  }
  void unlink(std::uint64_t guest_cluster, HostOffset host_offset) {
    metadata_.before_change();
    set_entry({guest_cluster * kCluster}, {});
    metadata_.defer_free(host_offset, kCluster);
  }
  std::uint64_t l2_entry_on_disk(std::uint64_t guest_cluster) {
    const std::uint64_t table =
        test::field_of(*image_, metadata_.header().l1_table_offset.value) & ~L1Entry::kCopied;
    return table == 0 ? 0 : test::field_of(*image_, table + 8 * guest_cluster);
  }
  std::uint64_t flushes() { return storage_.plan().count(test::kFlushes); }

  const std::shared_ptr<MemoryStorage> image_;
  test::FaultStorage storage_;
  Metadata metadata_;

 private:
  void set_entry(GuestOffset guest_offset, RawL2Entry entry) {
    std::size_t replaced = 0;
    metadata_.map().replace_entries(guest_offset, std::span(&entry, 1), replaced);
  }
};

TEST_F(MetadataTest, AFlushBringsMapAndRefcountsToTheDisk) {
  const HostOffset host_offset = link(3);
  EXPECT_EQ(l2_entry_on_disk(3), 0u);
  metadata_.flush();
  EXPECT_EQ(l2_entry_on_disk(3), host_offset.value | RawL2Entry::kCopied);
  EXPECT_EQ(test::refcount_on_disk(*image_, host_offset), 1u);
}

TEST_F(MetadataTest, AFlushOfNothingNewIsOneBarrier) {
  link(3);
  metadata_.flush();
  const std::uint64_t before = flushes();
  metadata_.flush();
  EXPECT_EQ(flushes(), before + 1);
}

TEST_F(MetadataTest, AFlushOfAllocationsIsTwoBarriers) {
  link(3);
  metadata_.flush();
  const std::uint64_t before = flushes();
  link(4);
  metadata_.flush();
  EXPECT_EQ(flushes(), before + 2) << "before what points at the new, and at the end";
}

TEST_F(MetadataTest, RefcountsFailToBeWrittenBeforeAnythingPointsAtThem) {
  const HostOffset host_offset = link(3);
  // From the barrier that the refcounts need on, nothing goes through.
  storage_.plan().arm({.operations = test::kFlushes, .at = 1, .stays = true});
  EXPECT_THROW(metadata_.flush(), Error);
  EXPECT_EQ(test::refcount_on_disk(*image_, host_offset), 1u);
  EXPECT_EQ(test::field_of(*image_, metadata_.header().l1_table_offset.value), 0u);
}

TEST_F(MetadataTest, AFreedClusterIsUsedAgainOnlyAfterAFlush) {
  const HostOffset host_offset = link(3);
  metadata_.flush();
  unlink(3, host_offset);
  EXPECT_TRUE(metadata_.can_reclaim());
  const HostOffset other = link(4);
  EXPECT_NE(other, host_offset);
  EXPECT_EQ(test::refcount_on_disk(*image_, host_offset), 1u);
  metadata_.flush();
  EXPECT_FALSE(metadata_.can_reclaim());
  EXPECT_EQ(link(5), host_offset);
}

TEST_F(MetadataTest, AFreedClusterIsKeptWhileAReaderHasIt) {
  const HostOffset host_offset = link(3);
  metadata_.flush();
  std::vector<HostOffset> freed;
  metadata_.on_free([&](HostOffset o, std::uint64_t) { freed.push_back(o); });
  {
    const EpochPin reader(metadata_.epochs());
    unlink(3, host_offset);
    metadata_.flush();
    metadata_.flush();
    EXPECT_TRUE(freed.empty());
  }
  metadata_.flush();
  EXPECT_EQ(freed, std::vector{host_offset});
}

TEST_F(MetadataTest, ClosingBringsTheLoweredRefcountsToTheDisk) {
  const HostOffset host_offset = link(3);
  metadata_.flush();
  unlink(3, host_offset);
  metadata_.close();
  EXPECT_EQ(test::refcount_on_disk(*image_, host_offset), 0u);
}

TEST_F(MetadataTest, AFailedFlushStaysFailed) {
  link(3);
  storage_.plan().arm({.operations = test::kFlushes, .at = 1});
  const Error first = test::error_of([&] { metadata_.flush(); });
  EXPECT_EQ(first.code(), std::errc::io_error);
  storage_.plan().disarm();
  const Error second = test::error_of([&] { metadata_.flush(); });
  EXPECT_EQ(second.message(), first.message());
  EXPECT_THROW(metadata_.close(), Error);
}

TEST_F(MetadataTest, AFailedWriteMaySucceedLater) {
  const HostOffset host_offset = link(3);
  storage_.plan().arm({.operations = test::kWrites, .at = 1, .errno_value = ENOSPC});
  EXPECT_EQ(test::error_of([&] { metadata_.flush(); }).code(), std::errc::no_space_on_device);
  metadata_.flush();
  EXPECT_EQ(l2_entry_on_disk(3), host_offset.value | RawL2Entry::kCopied);
  EXPECT_EQ(test::refcount_on_disk(*image_, host_offset), 1u);
}

TEST_F(MetadataTest, WhatIsReleasedIsFreeAtOnce) {
  const HostRun run = metadata_.allocate(4);
  metadata_.release(run.host_offset, 4 * kCluster);
  EXPECT_EQ(metadata_.allocate(1).host_offset, run.host_offset);
}

TEST_F(MetadataTest, AutoclearBitsGoBeforeTheFirstChange) {
  const be64 unknown = std::uint64_t{1} << 20;
  image_->write(88, std::as_bytes(std::span(&unknown, 1)));
  metadata_.reload(Qcow2Layer::read_header(*image_));
  EXPECT_EQ(test::field_of(*image_, 88), unknown);
  metadata_.before_change();
  EXPECT_EQ(test::field_of(*image_, 88), 0u);
}

class LazyMetadata : public MetadataTest {
 protected:
  LazyMetadata() : MetadataTest({.lazy_refcounts = true}) {}
  bool is_dirty() { return Qcow2Layer::read_header(*image_).has(incompatible::kDirty); }
};

TEST_F(LazyMetadata, TheDirtyBitIsThereFromTheFirstChangeToTheClose) {
  EXPECT_FALSE(is_dirty());
  metadata_.before_change();
  EXPECT_TRUE(is_dirty());
  metadata_.flush();
  EXPECT_TRUE(is_dirty());
  metadata_.close();
  EXPECT_FALSE(is_dirty());
  metadata_.before_change();
  EXPECT_TRUE(is_dirty()) << "changes may follow";
}

TEST_F(LazyMetadata, RefcountsReachTheDiskWithTheClose) {
  const HostOffset host_offset = link(3);
  metadata_.flush();
  EXPECT_EQ(l2_entry_on_disk(3), host_offset.value | RawL2Entry::kCopied);
  EXPECT_EQ(test::refcount_on_disk(*image_, host_offset), 0u);
  metadata_.close();
  EXPECT_EQ(test::refcount_on_disk(*image_, host_offset), 1u);
}

TEST_F(LazyMetadata, AnImageThatCannotBeFlushedStaysDirty) {
  link(3);
  storage_.plan().arm({.operations = test::kFlushes, .at = 1, .stays = true});
  EXPECT_THROW(metadata_.close(), Error);
  EXPECT_TRUE(is_dirty());
}

TEST(Metadata, RefcountsOfAnImageThatIsOnlyReadAreNotRead) {
  const auto image = test::make_engine_image({});
  const Header header = Qcow2Layer::read_header(*image);
  const auto reads_with = [&](const MetadataOptions& options) {
    test::FaultStorage storage(image);
    const Metadata metadata(storage, nullptr, header, options);
    return storage.plan().count(test::kReads);
  };
  EXPECT_EQ(reads_with({.read_only = true}) + 1, reads_with({}));
}

TEST(MetadataGrowth, TheHeaderPointsAtTheGrownRefcountTable) {
  const auto image = test::make_engine_image({.cluster_size = 512, .refcount_bits = 64});
  const Header before = Qcow2Layer::read_header(*image);
  Metadata metadata(*image, nullptr, before, {});
  while (metadata.header().refcount_table_offset == before.refcount_table_offset) {
    metadata.allocate(64);
  }
  metadata.close();
  const Header after = Qcow2Layer::read_header(*image);
  EXPECT_EQ(after.refcount_table_offset, metadata.header().refcount_table_offset);
  EXPECT_GT(after.refcount_table_clusters, before.refcount_table_clusters);
  EXPECT_EQ(test::refcount_on_disk(*image, after.refcount_table_offset), 1u);
  EXPECT_EQ(test::refcount_on_disk(*image, before.refcount_table_offset), 0u);
}

TEST(MetadataGrowth, ARunLongerThanTheTableCoversGetsATableThatCoversIt) {
  const auto image = test::make_engine_image({.cluster_size = 512, .refcount_bits = 64});
  Metadata metadata(*image, nullptr, Qcow2Layer::read_header(*image), {});
  // A cluster of the table covers 64 blocks of 64 clusters.
  constexpr std::uint64_t kClusters = 5 * 64 * 64;
  const HostRun run = metadata.allocate_contiguous(kClusters);
  EXPECT_EQ(run.clusters, kClusters);
  metadata.close();
  EXPECT_EQ(test::refcount_on_disk(*image, run.host_offset), 1u);
  EXPECT_EQ(test::refcount_on_disk(*image, run.host_offset + (kClusters - 1) * 512), 1u);
}

}  // namespace
}  // namespace qcowkit::qcow2
