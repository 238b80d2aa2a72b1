// Bitmaps of an open image and what the disk says of them meanwhile: in use while the disk changes,
// stored at close, never switched to half-written.
#include "formats/qcow2/bitmaps.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/formats/qcow2/bitmaps_fixture.h"
#include "tests/support/errors.h"

namespace qcowkit::test {
namespace {

// --- Life of a bitmap --------------------------------------------------------------------------

TEST_F(BitmapsTest, BitmapAddedIsStoredAtCloseAndNotBefore) {
  add("b");
  layer_->flush();
  EXPECT_FALSE(header().bitmaps.has_value());
  open();
  ASSERT_EQ(directory().size(), 1u);
  EXPECT_EQ(directory()[0].name, "b");
  EXPECT_TRUE(directory()[0].automatic);
  EXPECT_FALSE(directory()[0].in_use);
  EXPECT_EQ(table()[0], BitmapTableEntry::all(false));
  expect_clean();
}

TEST_F(BitmapsTest, EnabledBitmapIsInUseOnTheDiskFromTheFirstChangeToTheClose) {
  add("follows");
  add("stays", false);
  open();
  layer_->bitmaps();
  layer_->flush();
  EXPECT_FALSE(directory()[0].in_use) << "nothing has changed yet";
  write(0, 3, 100);
  EXPECT_TRUE(directory()[0].in_use);
  EXPECT_FALSE(directory()[1].in_use) << "is right whatever is written";
  layer_->flush();
  EXPECT_TRUE(directory()[0].in_use);
  open();
  EXPECT_FALSE(directory()[0].in_use);
  EXPECT_TRUE(directory()[0].automatic);
  EXPECT_EQ(dirty("follows"), Run(0, kGranule));
  EXPECT_EQ(dirty("stays"), kNothing);
}

TEST_F(BitmapsTest, BitmapLeftInUseIsListedAndCanOnlyBeRemoved) {
  add("b");
  add("other", false);
  open();
  write(0, 3, 100);
  kill();
  ASSERT_EQ(layer_->bitmaps().size(), 2u);
  EXPECT_TRUE(layer_->bitmaps()[0].in_use);
  EXPECT_FALSE(layer_->bitmaps()[1].in_use);
  for (const auto& use : std::vector<std::function<void()>>{
           [&] { layer_->clear_bitmap("b"); }, [&] { layer_->enable_bitmap("b", false); },
           [&] { layer_->mark_bitmap("b", {0}, 1); }, [&] { layer_->map_bitmap("b", {0}, 1); }}) {
    const Error error = error_of(use);
    EXPECT_EQ(error.code(), Errc::corrupt);
    EXPECT_EQ(error.message(), "Bitmap 'b' is inconsistent and cannot be used");
  }
  write(8192, 3, 100);  // follows no more
  open();
  EXPECT_TRUE(layer_->bitmaps()[0].in_use);
  layer_->remove_bitmap("b");
  open();
  ASSERT_EQ(layer_->bitmaps().size(), 1u);
  expect_clean();
  EXPECT_EQ(image_->size() / cluster_ * cluster_, image_->size());
}

TEST_F(BitmapsTest, RemovingTheLastBitmapTakesTheExtensionAway) {
  add("b");
  open();
  write(0, 3, 100);
  layer_->remove_bitmap("b");
  open();
  EXPECT_FALSE(header().bitmaps.has_value());
  EXPECT_EQ(header().autoclear_features, 0u);
  EXPECT_TRUE(layer_->bitmaps().empty());
  expect_clean();
}

TEST_F(BitmapsTest, BitmapRemovedAndWrittenPastIsNotTrustedAfterACrash) {
  add("b");
  open();
  layer_->remove_bitmap("b");
  write(0, 3, 100);
  kill();
  EXPECT_TRUE(layer_->bitmaps().at(0).in_use);
}

TEST_F(BitmapsTest, BitmapDisabledOrEnabledAndWrittenPastIsNotTrustedAfterACrash) {
  add("was enabled");
  add("was disabled", false);
  open();
  layer_->enable_bitmap("was enabled", false);
  write(0, 3, 100);
  EXPECT_TRUE(directory()[0].in_use);
  EXPECT_FALSE(directory()[1].in_use);
  layer_->enable_bitmap("was disabled", true);
  EXPECT_FALSE(directory()[1].in_use);
  write(0, 3, 100);
  EXPECT_TRUE(directory()[1].in_use);
  open();
  EXPECT_EQ(dirty("was enabled"), kNothing);
  EXPECT_EQ(dirty("was disabled"), Run(0, kGranule));
  EXPECT_TRUE(layer_->bitmaps()[1].automatic);
  EXPECT_FALSE(layer_->bitmaps()[0].automatic);
}

TEST_F(BitmapsTest, DisabledBitmapIsMarkedInUseBeforeTheSizeChanges) {
  add("b", false);
  layer_->mark_bitmap("b", {5 * kGranule}, 2 * kGranule);
  open();
  layer_->resize(2 * kDisk, {});
  EXPECT_TRUE(directory()[0].in_use);
  open();
  EXPECT_FALSE(directory()[0].in_use);
  EXPECT_EQ(dirty("b"), Run(5 * kGranule, 2 * kGranule));
  expect_clean();
}

TEST_F(BitmapsTest, BitmapThatDidNotChangeKeepsItsClusters) {
  add("b");
  add("other");
  write(0, 3, 100);
  open();
  const HostOffset place = directory()[0].table_offset;
  write(10, 3, 100);
  layer_->remove_bitmap("other");
  open();
  EXPECT_EQ(directory()[0].table_offset, place);
  EXPECT_FALSE(directory()[0].in_use);
  expect_clean();
}

TEST_F(BitmapsTest, ReplacedClustersAreFreed) {
  add("b");
  for (std::uint64_t i = 0; i < 20; ++i) {
    write(i * 16 * kGranule, 3, 100);
    open();
  }
  expect_clean();
  layer_->remove_bitmap("b");
  open();
  const std::uint64_t data_and_tables = layer_->check({}).image_end_offset;
  for (int i = 0; i < 20; ++i) {
    add("b");
    layer_->mark_bitmap("b", {0}, 100);
    open();
    layer_->remove_bitmap("b");
    open();
  }
  EXPECT_LE(layer_->check({}).image_end_offset, data_and_tables + 8 * cluster_);
}

TEST_F(BitmapsTest, ImageWithoutBitmapsIsWrittenAsBefore) {
  const std::uint64_t before = plan_->count(kAllOperations);
  write(0, 3, 100);
  layer_->write_zeroes({8192}, 8192, true);
  EXPECT_TRUE(layer_->bitmaps().empty());
  open();
  EXPECT_FALSE(header().bitmaps.has_value());
  EXPECT_LE(plan_->count(kAllOperations) - before, 40u);
}

TEST_F(BitmapsTest, InfoShowsBitmapsAsTheyAreNow) {
  add("old");
  open();
  write(0, 3, 100);
  add("new");
  ImageInfo info;
  layer_->describe(info);
  ASSERT_EQ(info.qcow2->bitmaps.size(), 2u);
  EXPECT_FALSE(info.qcow2->bitmaps[0].in_use);
  EXPECT_EQ(info.qcow2->bitmaps[1].name, "new");
}

TEST_F(BitmapsTest, CheckAndRepairKeepBitmaps) {
  add("b");
  open();
  write(0, 3, 100);
  expect_clean();
  write(2 * kGranule, 3, 100);
  const CheckReport report = layer_->check({Repair::all, {}, {}});
  EXPECT_EQ(report.corruptions + report.leaks, 0u);
  write(4 * kGranule, 3, 100);
  open();
  EXPECT_EQ(dirty("b"), Run(0, kGranule));
  EXPECT_TRUE(layer_->map_bitmap("b", {2 * kGranule}, 1).is_dirty);
  EXPECT_TRUE(layer_->map_bitmap("b", {4 * kGranule}, 1).is_dirty);
  EXPECT_FALSE(layer_->map_bitmap("b", {3 * kGranule}, 1).is_dirty);
  expect_clean();
}

// --- How bits are stored -----------------------------------------------------------------------

TEST_F(SmallClusterBitmapsTest, UniformClustersTakeNoSpace) {
  add("b", true, 512);
  layer_->mark_bitmap("b", {2 << 20}, 4 << 20);
  layer_->mark_bitmap("b", {8 << 20}, (1 << 20) + 512);
  open();
  const std::vector<BitmapTableEntry> entries = table();
  ASSERT_EQ(entries.size(), 5u);
  EXPECT_EQ(entries[0], BitmapTableEntry::all(false));
  EXPECT_EQ(entries[1], BitmapTableEntry::all(true));
  EXPECT_EQ(entries[2], BitmapTableEntry::all(true));
  EXPECT_EQ(entries[3], BitmapTableEntry::all(false));
  ASSERT_TRUE(entries[4].has_cluster()) << "bits behind the end have to be zero";
  std::vector<std::byte> data(512);
  image_->read(entries[4].host_offset().value, data);
  EXPECT_EQ(data[255], std::byte{0xff});
  EXPECT_EQ(data[256], std::byte{0x01});
  EXPECT_EQ(data[257], std::byte{0});
  EXPECT_EQ(dirty("b"), Run(2 << 20, 4 << 20));
  expect_clean();
}

TEST_F(SmallClusterBitmapsTest, OnesBehindTheEndAreIgnored) {
  add("b", false, 512);
  open();
  set_table_entry(4, BitmapTableEntry::all(true));
  EXPECT_EQ(dirty("b"), Run(8 << 20, (1 << 20) + 512));
  layer_->resize(10 << 20, {});
  EXPECT_EQ(dirty("b"), Run(8 << 20, (1 << 20) + 512));
}

TEST_F(BitmapsTest, DefaultGranularityIsAClusterWithinLimits) {
  for (const auto& [cluster, granularity] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {512, 4096}, {4096, 4096}, {8192, 8192}, {65536, 65536}, {2 << 20, 65536}}) {
    const auto image = make_engine_image({.cluster_size = cluster});
    qcow2::LayerOptions options;
    options.read_only = false;
    qcow2::Qcow2Layer layer(std::make_unique<FaultStorage>(image), nullptr,
                            qcow2::Qcow2Layer::read_header(*image), options);
    layer.add_bitmap({.name = "b"});
    EXPECT_EQ(layer.bitmaps()[0].granularity_bytes, granularity) << cluster;
  }
}

// --- Failures ----------------------------------------------------------------------------------

TEST_F(BitmapsTest, ChangeFailsIfItCannotBeAnnounced) {
  add("b");
  open();
  plan_->arm({.operations = kWrites, .at = 1});
  EXPECT_THROW(write(0, 3, 100), Error);
  plan_->disarm();
  write(0, 3, 100);
  EXPECT_TRUE(directory()[0].in_use);
  open();
  EXPECT_EQ(dirty("b"), Run(0, kGranule));
  expect_clean();
}

TEST_F(BitmapsTest, FailedCloseLosesBitmapsAndNotTheDisk) {
  add("b");
  open();
  write(0, 3, 100);
  layer_->flush();
  for (std::uint64_t at = 1;; ++at) {
    plan_->arm({.operations = kWrites, .at = at});
    bool failed = false;
    try {
      layer_->close();
    } catch (const Error&) {
      failed = true;
    }
    plan_->disarm();
    layer_.reset();
    open();
    EXPECT_EQ(read(0, 100), make_content(3, 100));
    const std::vector<BitmapInfo> listed = layer_->bitmaps();
    ASSERT_EQ(listed.size(), 1u);
    EXPECT_EQ(layer_->check({}).corruptions, 0u);
    if (!failed) {
      EXPECT_FALSE(listed[0].in_use);
      break;
    }
    // Whether the header was switched is not known where its own write has failed.
    layer_->remove_bitmap("b");
    open();
    layer_->check({Repair::leaks, {}, {}});
    add("b");
    open();
    write(0, 3, 100);
    layer_->flush();
    ASSERT_LT(at, 100u);
  }
}

// --- Many threads ------------------------------------------------------------------------------

TEST_F(BitmapsTest, WritesOfManyThreadsAreAllNoted) {
  add("fine", true, 512);
  add("coarse", true, 65536);
  open();
  constexpr std::uint64_t kThreads = 4;
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < 60; ++i) {
        write((i * kThreads + t) * 8192, 1 + 4 * t, 512);
        layer_->map_bitmap("fine", {0}, kDisk);
        if (t == 0 && i % 16 == 0) layer_->flush();
        if (t == 1 && i == 30) layer_->enable_bitmap("coarse", false);
        if (t == 1 && i == 31) layer_->enable_bitmap("coarse", true);
        if (t == 2 && i == 20) add("new");
        if (t == 2 && i == 40) layer_->remove_bitmap("new");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  open();
  for (std::uint64_t i = 0; i < 60 * kThreads; ++i) {
    const BitmapExtent extent = layer_->map_bitmap("fine", {i * 8192}, 8192);
    ASSERT_TRUE(extent.is_dirty && extent.length_bytes == 512) << i;
  }
  EXPECT_TRUE(layer_->map_bitmap("coarse", {0}, 65536).is_dirty);
  expect_clean();
}

}  // namespace
}  // namespace qcowkit::test
