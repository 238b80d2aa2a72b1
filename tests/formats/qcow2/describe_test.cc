// What `info` is told: everything that the reference tells of the same image.
#include "formats/qcow2/describe.h"

#include <gtest/gtest.h>

#include "formats/qcow2/bitmap_directory.h"
#include "formats/qcow2/snapshot_table.h"
#include "qcowkit/error.h"

namespace qcowkit::qcow2 {
namespace {

TEST(Describe, PlainHeaderIsTold) {
  Header header;
  header.version = 2;
  header.size = 123 << 20;
  header.cluster_bits = 12;
  header.backing_file = "base.img";
  ImageInfo info;
  describe(header, *make_memory_storage(), info);
  EXPECT_EQ(info.virtual_size_bytes, 123u << 20);
  EXPECT_EQ(info.cluster_size_bytes, 4096u);
  EXPECT_EQ(info.backing_file, "base.img");
  EXPECT_EQ(info.backing_format, "");
  EXPECT_FALSE(info.dirty || info.encrypted);
  ASSERT_TRUE(info.qcow2);
  EXPECT_EQ(info.qcow2->version, 2u);
  EXPECT_EQ(info.qcow2->refcount_bits, 16u);
  EXPECT_TRUE(info.qcow2->snapshots.empty() && info.qcow2->bitmaps.empty());
}

TEST(Describe, FeaturesAreTold) {
  Header header;
  header.incompatible_features = incompatible::kKnown;
  header.compatible_features = compatible::kLazyRefcounts;
  header.autoclear_features = autoclear::kDataFileRaw;
  header.compression_type = CompressionType::zstd;
  header.refcount_order = 6;
  header.crypt_method = 2;
  header.data_file = "data.raw";
  header.backing_format = "raw";
  ImageInfo info;
  describe(header, *make_memory_storage(), info);
  EXPECT_TRUE(info.dirty && info.encrypted);
  EXPECT_EQ(info.backing_format, "raw");
  EXPECT_TRUE(info.qcow2->corrupt && info.qcow2->extended_l2 && info.qcow2->lazy_refcounts);
  EXPECT_EQ(info.qcow2->compression, CompressionType::zstd);
  EXPECT_EQ(info.qcow2->refcount_bits, 64u);
  EXPECT_EQ(info.qcow2->data_file, "data.raw");
  EXPECT_TRUE(info.qcow2->data_file_raw);
}

TEST(Describe, DataFileNameWithoutItsBitIsNotTold) {
  Header header;
  header.data_file = "data.raw";
  ImageInfo info;
  describe(header, *make_memory_storage(), info);
  EXPECT_EQ(info.qcow2->data_file, "");
}

TEST(Describe, SnapshotsAndBitmapsAreTold) {
  const auto storage = make_memory_storage();
  SnapshotEntry snapshot;
  snapshot.id = "7";
  snapshot.name = "before the update";
  snapshot.vm_state_size_bytes = 1 << 20;
  snapshot.date_seconds = 1700000000;
  snapshot.date_nanoseconds = 5;
  snapshot.vm_clock_nanoseconds = 6;
  snapshot.icount = 8;
  snapshot.disk_size_bytes = 9;
  snapshot.l1_table_offset = {1};  // damaged, and nothing that `info` has to follow
  storage->write(1 << 16, encode_snapshot_table({&snapshot, 1}));
  BitmapEntry bitmap;
  bitmap.name = "daily";
  bitmap.granularity_bits = 20;
  bitmap.in_use = true;
  bitmap.automatic = true;
  const auto directory = encode_bitmap_directory({&bitmap, 1});
  storage->write(2 << 16, directory);

  Header header;
  header.nb_snapshots = 1;
  header.snapshots_offset = {1 << 16};
  header.autoclear_features = autoclear::kBitmaps;
  header.bitmaps = BitmapsExtension{1, directory.size(), {2 << 16}};
  ImageInfo info;
  describe(header, *storage, info);
  ASSERT_EQ(info.qcow2->snapshots.size(), 1u);
  const SnapshotInfo& told = info.qcow2->snapshots[0];
  EXPECT_EQ(told.id, "7");
  EXPECT_EQ(told.name, "before the update");
  EXPECT_EQ(told.vm_state_size_bytes, 1u << 20);
  EXPECT_EQ(told.date_seconds, 1700000000u);
  EXPECT_EQ(told.date_nanoseconds, 5u);
  EXPECT_EQ(told.vm_clock_nanoseconds, 6u);
  EXPECT_EQ(told.icount, 8u);
  EXPECT_EQ(told.disk_size_bytes, 9u);
  ASSERT_EQ(info.qcow2->bitmaps.size(), 1u);
  EXPECT_EQ(info.qcow2->bitmaps[0].name, "daily");
  EXPECT_EQ(info.qcow2->bitmaps[0].granularity_bytes, 1u << 20);
  EXPECT_TRUE(info.qcow2->bitmaps[0].in_use && info.qcow2->bitmaps[0].automatic);
}

TEST(Describe, DamagedTablesAreReported) {
  Header header;
  header.nb_snapshots = 1;
  header.snapshots_offset = {1 << 16};
  ImageInfo info;
  EXPECT_THROW(describe(header, *make_memory_storage(), info), Error);
}

}  // namespace
}  // namespace qcowkit::qcow2
