// Bitmaps that others made or that were damaged: what is not understood is kept, or refused.
#include "formats/qcow2/bitmaps.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "tests/formats/qcow2/bitmaps_fixture.h"
#include "tests/support/errors.h"
#include "tests/support/seeds.h"

namespace qcowkit::test {
namespace {

TEST_F(BitmapsTest, ExtensionWithoutItsAutoclearBitIsDropped) {
  add("b");
  layer_->close();
  const be64 none = 0;
  image_->write(offsetof(qcow2::RawHeader, autoclear_features), std::as_bytes(std::span(&none, 1)));
  layer_.reset();
  open();
  EXPECT_TRUE(layer_->bitmaps().empty());
  write(0, 3, 100);
  add("b");
  open();
  EXPECT_EQ(layer_->bitmaps().size(), 1u);
  EXPECT_EQ(dirty("b"), kNothing);
  EXPECT_EQ(layer_->check({}).corruptions, 0u);
  EXPECT_NE(layer_->check({}).leaks, 0u) << "of the bitmap that was dropped";
  layer_->check({Repair::leaks, {}, {}});
  expect_clean();
  EXPECT_EQ(layer_->bitmaps().size(), 1u);
}

TEST_F(BitmapsTest, UnknownAutoclearBitsGoAndTheBitmapsBitStays) {
  add("b");
  layer_->close();
  const be64 all = qcow2::autoclear::kBitmaps | 1 << 7;
  image_->write(offsetof(qcow2::RawHeader, autoclear_features), std::as_bytes(std::span(&all, 1)));
  layer_.reset();
  open();
  write(0, 3, 100);
  EXPECT_EQ(header().autoclear_features, qcow2::autoclear::kBitmaps);
  open();
  EXPECT_EQ(dirty("b"), Run(0, kGranule));
}

TEST_F(BitmapsTest, CompatibleExtraDataIsKeptAndIncompatibleKeepsFromUse) {
  add("b");
  add("other");
  open();
  const std::vector<std::byte> extra(9, std::byte{7});
  std::vector<BitmapEntry> entries = directory();
  entries[0].extra_data = extra;
  entries[0].extra_data_compatible = true;
  set_directory(entries);
  write(0, 3, 100);
  open();
  EXPECT_EQ(dirty("b"), Run(0, kGranule));
  entries = directory();
  EXPECT_EQ(entries[0].extra_data, extra);
  EXPECT_TRUE(entries[0].extra_data_compatible);

  // It should follow writes, and must not be used: so nothing is written.
  entries[0].extra_data_compatible = false;
  set_directory(entries);
  const Error error = error_of([&] { write(0, 3, 100); });
  EXPECT_EQ(error.code(), Errc::unsupported);
  EXPECT_TRUE(mentions(error, {"'b'", "extra data"}));
  EXPECT_FALSE(directory()[1].in_use);

  // It need not follow: it is left as it is.
  entries[0].automatic = false;
  set_directory(entries);
  write(0, 3, 100);
  EXPECT_EQ(error_of([&] { layer_->clear_bitmap("b"); }).code(), Errc::unsupported);
  layer_->clear_bitmap("other");
  open();
  EXPECT_EQ(directory()[0], entries[0]);
}

TEST_F(BitmapsTest, BitmapOfAnUnknownTypeMakesTheImageUnwritable) {
  add("b");
  layer_->close();
  const auto type = std::byte{2};
  image_->write(header().bitmaps->bitmap_directory_offset.value + 16, std::span(&type, 1));
  layer_.reset();
  open();
  EXPECT_EQ(error_of([&] { write(0, 3, 100); }).code(), Errc::unsupported);
  EXPECT_EQ(read(0, 100), zeroes(100));
}

TEST_F(BitmapsTest, DamagedTableKeepsFromWritingUntilTheBitmapIsRemovedOrCleared) {
  add("b");
  add("c");
  open();
  set_table_entry(0, BitmapTableEntry(2));
  const Error error = error_of([&] { write(0, 3, 100); });
  EXPECT_EQ(error.code(), Errc::corrupt);
  EXPECT_TRUE(mentions(error, {"Could not read bitmap 'b' from image", "entry 0 is 0x2"}));
  EXPECT_FALSE(directory()[0].in_use);
  layer_->clear_bitmap("b");
  write(0, 3, 100);
  open();
  set_table_entry(0, BitmapTableEntry(2), 1);
  layer_->remove_bitmap("c");
  write(kGranule, 3, 100);
  open();
  EXPECT_EQ(dirty("b"), Run(0, 2 * kGranule));
  EXPECT_EQ(layer_->check({}).corruptions, 0u);
}

class LargeDiskBitmapsTest : public BitmapsTest {
 protected:
  LargeDiskBitmapsTest() : BitmapsTest({.cluster_size = 512, .size = 1 << 30}) {}
};

TEST_F(LargeDiskBitmapsTest, TablesThatNameOneClusterOftenDoNotFillTheMemory) {
  for (const std::string name : {"a", "b"}) {
    add(name, false, 512);
    layer_->mark_bitmap(name, {0}, 1);
  }
  open();
  // Each table stands for about as much data as the whole file has.
  for (std::size_t i = 0; i < 2; ++i) {
    const std::vector<be64> entries(directory()[i].table_entries, table(i)[0].raw());
    image_->write(directory()[i].table_offset.value, std::as_bytes(std::span(entries)));
  }
  layer_->map_bitmap("a", {0}, 1);
  const Error error = error_of([&] { layer_->map_bitmap("b", {0}, 1); });
  EXPECT_EQ(error.code(), Errc::corrupt);
  EXPECT_TRUE(mentions(error, {"more data than fits"}));
}

TEST_F(SmallClusterBitmapsTest, RandomDamageMakesErrorsAtMost) {
  add("first", true, 512);
  add("second", false, 4096);
  write(3 << 20, 3, 5000);
  layer_->close();
  const Header sound = header();
  std::vector<std::pair<std::uint64_t, std::uint64_t>> places{
      {sound.bitmaps->bitmap_directory_offset.value, sound.bitmaps->bitmap_directory_size}};
  for (const BitmapEntry& entry : directory()) {
    places.emplace_back(entry.table_offset.value, entry.table_entries * 8);
  }
  std::vector<std::byte> bytes(image_->size());
  image_->read(0, bytes);
  for_each_seed(
      300,
      [&](std::uint64_t seed) {
        SCOPED_TRACE("QCOWKIT_SEED=" + std::to_string(seed));
        std::mt19937_64 random(seed);
        layer_.reset();
        image_->resize(0, Preallocation::off);
        image_->write(0, bytes);
        for (std::uint64_t i = 0; i <= random() % 3; ++i) {
          const auto& [offset, length] = places[random() % places.size()];
          const auto damage =
              static_cast<std::byte>(random() % 3 == 0 ? random() : 1 << random() % 8);
          image_->write(offset + random() % length, std::span(&damage, 1));
        }
        open();
        for (const auto& use : std::vector<std::function<void()>>{
                 [&] { layer_->bitmaps(); }, [&] { write(0, 3, 100); }, [&] { dirty("first"); },
                 [&] { layer_->mark_bitmap("second", {0}, 5000); },
                 [&] { layer_->resize(10 << 20, {}); }, [&] { layer_->clear_bitmap("first"); },
                 [&] { layer_->remove_bitmap("second"); }, [&] { layer_->close(); }}) {
          try {
            use();
          } catch (const Error&) {
            // What is damaged may be refused.
          }
        }
        // A table that names a cluster of the disk has given it away: but the metadata is sound.
        const Header after = header();
        EXPECT_EQ(after.l1_table_offset.value % 512, 0u);
        open();
        EXPECT_EQ(read(3 << 20, 5000).size(), 5000u);
      },
      [] { return HasFailure(); });
}

}  // namespace
}  // namespace qcowkit::test
