// Bitmaps of an open image and what the disk says of them meanwhile: in use while the disk changes,
// stored at close, never switched to half-written. Damage, limits, and bitmaps that are not
// understood.
#include "formats/qcow2/bitmaps.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "formats/qcow2/bitmap_data.h"
#include "tests/formats/qcow2/layer_fixture.h"
#include "tests/support/errors.h"
#include "tests/support/seeds.h"

namespace qcowkit::test {
namespace {

using qcow2::BitmapEntry;
using qcow2::BitmapTableEntry;
using qcow2::Header;

constexpr std::uint64_t kGranule = 4096;
constexpr std::uint64_t kDisk = 4 << 20;

class BitmapsTest : public LayerTest {
 protected:
  BitmapsTest() = default;
  explicit BitmapsTest(const EngineOptions& options) : LayerTest(options) {}

  /// The layer goes as if its process had been killed.
  void kill() {
    layer_.reset();
    open();
  }
  Header header() const { return qcow2::Qcow2Layer::read_header(*image_); }
  /// What the disk says.
  std::vector<BitmapEntry> directory() const {
    return qcow2::read_bitmap_directory(*image_, header());
  }
  std::vector<BitmapTableEntry> table(std::size_t index = 0) const {
    return qcow2::read_bitmap_table(*image_, directory().at(index), header().geometry());
  }
  void set_directory(const std::vector<BitmapEntry>& entries) {
    layer_->close();
    const auto bytes = qcow2::encode_bitmap_directory(entries);
    Header changed = header();
    image_->write(changed.bitmaps->bitmap_directory_offset.value, bytes);
    changed.bitmaps->bitmap_directory_size = bytes.size();
    image_->write(0, changed.encode());
    open();
  }
  /// Makes a table entry whatever is wanted.
  void set_table_entry(std::size_t index, BitmapTableEntry entry, std::size_t bitmap = 0) {
    layer_->close();
    const be64 raw = entry.raw();
    image_->write(directory().at(bitmap).table_offset.value + index * 8,
                  std::as_bytes(std::span(&raw, 1)));
    open();
  }
  void add(const std::string& name, bool enabled = true, std::uint64_t granularity = kGranule) {
    layer_->add_bitmap({.name = name, .granularity_bytes = granularity, .enabled = enabled});
  }
  /// First byte and length of the first dirty run, {0, 0} if there is none.
  std::pair<std::uint64_t, std::uint64_t> dirty(const std::string& name) {
    for (std::uint64_t at = 0; at < layer_->virtual_size();) {
      const BitmapExtent extent = layer_->map_bitmap(name, {at}, layer_->virtual_size() - at);
      if (extent.is_dirty) return {at, extent.length_bytes};
      at += extent.length_bytes;
    }
    return {0, 0};
  }
  using Run = std::pair<std::uint64_t, std::uint64_t>;
  static constexpr Run kNothing{0, 0};
};

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

/// Clusters of 512 bytes, each of which holds the bits of 2 MiB.
class SmallClusterBitmapsTest : public BitmapsTest {
 protected:
  SmallClusterBitmapsTest() : BitmapsTest({.cluster_size = 512, .size = (9 << 20) + 512}) {}
};

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

// --- What is refused ---------------------------------------------------------------------------

TEST_F(BitmapsTest, ImpossibleBitmapsAreRefusedAndNothingChanges) {
  add("b");
  const auto refused = [&](const Image::NewBitmap& bitmap, Errc code, const std::string& words) {
    const Error error = error_of([&] { layer_->add_bitmap(bitmap); });
    EXPECT_EQ(error.code(), code) << error.message();
    EXPECT_TRUE(mentions(error, {words}));
  };
  refused({.name = "b"}, Errc::invalid_argument, "Bitmap already exists: b");
  refused({.name = ""}, Errc::invalid_argument, "Bitmap name cannot be empty");
  refused({.name = std::string("a\0b", 3)}, Errc::invalid_argument, "zero byte");
  refused({.name = std::string(1024, 'x')}, Errc::limit_exceeded,
          "Name length exceeds maximum (1023 characters)");
  for (const std::uint64_t granularity :
       {std::uint64_t{1}, std::uint64_t{256}, std::uint64_t{5000}, std::uint64_t{1} << 32}) {
    refused({.name = "c", .granularity_bytes = granularity}, Errc::invalid_argument,
            "Granularity must be power of 2 and at least 512");
  }
  EXPECT_EQ(layer_->bitmaps().size(), 1u);
  add(std::string(1023, 'x'), true, 512);
  add("largest granules", true, std::uint64_t{1} << 31);
  open();
  EXPECT_EQ(layer_->bitmaps().size(), 3u);
  expect_clean();
}

TEST_F(SmallClusterBitmapsTest, HeaderWithoutRoomForTheExtensionRefusesTheFirstBitmap) {
  AmendOptions options;
  std::string longest;
  try {
    for (;; longest += 'x') {
      options.backing_file = longest + 'x';
      layer_->amend(options);
    }
  } catch (const Error&) {
    // The name is now the longest that fits.
  }
  ASSERT_GT(longest.size(), 32u);
  EXPECT_EQ(error_of([&] { add("b"); }).code(), Errc::invalid_argument);
  EXPECT_TRUE(layer_->bitmaps().empty());
  options.backing_file = longest.substr(32);  // the extension's size
  layer_->amend(options);
  add("b");
  open();
  EXPECT_EQ(layer_->bitmaps().size(), 1u);
  EXPECT_EQ(header().backing_file, *options.backing_file);
}

TEST_F(BitmapsTest, UnknownNamesAreRefused) {
  for (const auto& use : std::vector<std::function<void()>>{
           [&] { layer_->clear_bitmap("b"); }, [&] { layer_->enable_bitmap("b", false); },
           [&] { layer_->remove_bitmap("b"); }, [&] { layer_->mark_bitmap("b", {0}, 1); },
           [&] { layer_->map_bitmap("b", {0}, 1); }}) {
    const Error error = error_of(use);
    EXPECT_EQ(error.code(), Errc::invalid_argument);
    EXPECT_EQ(error.message(), "Dirty bitmap 'b' not found");
  }
}

class Version2BitmapsTest : public BitmapsTest {
 protected:
  Version2BitmapsTest() : BitmapsTest({.version = 2}) {}
};

TEST_F(Version2BitmapsTest, HasNone) {
  EXPECT_TRUE(layer_->bitmaps().empty());
  const Error error = error_of([&] { add("b"); });
  EXPECT_EQ(error.code(), Errc::unsupported);
  EXPECT_EQ(error.message(),
            "Can't make bitmap 'b' persistent in 'disk.qcow2': Cannot store dirty bitmaps in qcow2 "
            "v2 files");
}

TEST(Bitmaps, BitsAreLimitedToHalfAGigabyte) {
  EXPECT_NO_THROW(qcow2::require_bitmap_fits(std::uint64_t{1} << 41, 9));
  const Error error =
      error_of([] { qcow2::require_bitmap_fits((std::uint64_t{1} << 41) + 512 * 8, 9); });
  EXPECT_EQ(error.code(), Errc::limit_exceeded);
  EXPECT_EQ(error.message(),
            "Too much space will be occupied by the bitmap. Use larger granularity");
}

TEST_F(BitmapsTest, DiskDoesNotOutgrowItsBitmapsNorVanish) {
  layer_->resize(std::uint64_t{1} << 40, {});
  add("b", true, 512);
  const Error large = error_of([&] { layer_->resize(std::uint64_t{1} << 42, {}); });
  EXPECT_EQ(large.code(), Errc::limit_exceeded);
  ResizeOptions shrink;
  shrink.may_shrink = true;
  EXPECT_EQ(error_of([&] { layer_->resize(0, shrink); }).code(), Errc::unsupported);
  EXPECT_EQ(layer_->virtual_size(), std::uint64_t{1} << 40);
  layer_->resize(kDisk, shrink);
  layer_->remove_bitmap("b");
  layer_->resize(0, shrink);
  EXPECT_EQ(error_of([&] { add("b"); }).code(), Errc::unsupported);
  expect_clean();
}

TEST_F(BitmapsTest, ReadOnlyImageAnswersAndRefusesChanges) {
  add("b");
  write(kGranule, 3, 1);
  layer_->close();
  qcow2::Qcow2Layer layer(std::make_unique<FaultStorage>(image_, plan_), nullptr, header(), {});
  const std::uint64_t changes = plan_->count(kChanges);
  EXPECT_EQ(layer.bitmaps().size(), 1u);
  EXPECT_TRUE(layer.map_bitmap("b", {kGranule}, 1).is_dirty);
  EXPECT_EQ(error_of([&] { layer.mark_bitmap("b", {0}, 1); }).code(), Errc::read_only);
  EXPECT_EQ(error_of([&] { layer.add_bitmap({.name = "c"}); }).code(), Errc::read_only);
  layer.close();
  EXPECT_EQ(plan_->count(kChanges), changes);
}

// --- Bitmaps that others made ------------------------------------------------------------------

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
