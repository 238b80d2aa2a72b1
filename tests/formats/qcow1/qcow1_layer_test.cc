// One layer: what each request does to the mapping, and what it refuses.
#include "formats/qcow1/qcow1_layer.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/checked.h"
#include "base/endian.h"
#include "tests/formats/qcow1/disk_shape.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::test {
namespace {

constexpr std::uint64_t kCluster = 4096;
constexpr std::uint64_t kDiskBytes = 4 << 20;

std::vector<std::byte> noise(std::uint64_t number, std::size_t bytes) {
  return make_content(4 * number + 3, bytes);
}
std::vector<std::byte> pattern(std::uint64_t number, std::size_t bytes) {
  return make_content(4 * number + 2, bytes);
}

class Qcow1LayerTest : public testing::Test {
 protected:
  void start(bool has_backing = false, bool is_encrypted = false) {
    shape_ = {"Layer", 12, 9, kDiskBytes, has_backing, is_encrypted};
    format_qcow1(*file_, shape_);
    reopen();
  }
  void reopen(Qcow1Disk::Mode mode = Qcow1Disk::Mode::read_write) {
    if (disk_) disk_->layer().close();
    disk_ = std::make_unique<Qcow1Disk>(shape_, std::make_unique<FaultStorage>(file_, plan_), mode);
  }
  qcow1::Qcow1Layer& layer() { return disk_->layer(); }

  std::vector<std::byte> read(std::uint64_t guest_offset, std::size_t bytes) {
    std::vector<std::byte> into(bytes);
    layer().read({guest_offset}, into);
    return into;
  }
  void write_compressed(std::uint64_t guest_offset, std::span<const std::byte> bytes) {
    layer().write_compressed({guest_offset}, layer().compress(bytes, 0), bytes);
  }
  ExtentKind kind(std::uint64_t guest_offset) { return layer().map({guest_offset}, 1).kind; }

  Qcow1Shape shape_;
  const std::shared_ptr<MemoryStorage> file_ = std::make_shared<MemoryStorage>("disk.qcow");
  const std::shared_ptr<FaultPlan> plan_ = std::make_shared<FaultPlan>();
  std::unique_ptr<Qcow1Disk> disk_;
};

TEST_F(Qcow1LayerTest, ClustersAndTablesGoToTheFilesEnd) {
  start();
  layer().write({5000}, noise(1, 300));
  const LayerExtent extent = layer().map({5000}, kDiskBytes - 5000);
  EXPECT_EQ(extent.kind, ExtentKind::data);
  EXPECT_EQ(extent.host_offset.value, 2 * kCluster + 5000 % kCluster) << "behind the L2 table";
  EXPECT_EQ(extent.length_bytes, 2 * kCluster - 5000);
  EXPECT_EQ(file_->size(), 3 * kCluster);
  layer().write({100}, noise(2, 10));
  EXPECT_EQ(layer().map({0}, 1).host_offset.value, 3 * kCluster);
}

TEST_F(Qcow1LayerTest, NeighboursAreOneExtentAndOneRequest) {
  start();
  const std::uint64_t writes = plan_->count(kWrites);
  layer().write({kCluster}, noise(1, 10 * kCluster));
  EXPECT_EQ(plan_->count(kWrites) - writes, 1u);
  EXPECT_EQ(layer().map({kCluster}, kDiskBytes - kCluster).length_bytes, 10 * kCluster);
  const std::uint64_t reads = plan_->count(kReads);
  EXPECT_EQ(read(kCluster, 10 * kCluster), noise(1, 10 * kCluster));
  EXPECT_EQ(plan_->count(kReads) - reads, 1u);
}

TEST_F(Qcow1LayerTest, OverwritingTouchesNoMetadata) {
  start();
  layer().write({0}, noise(1, kCluster));
  layer().flush();
  const std::uint64_t size = file_->size();
  const std::uint64_t writes = plan_->count(kWrites);
  layer().write({10}, noise(2, 100));
  layer().flush();
  EXPECT_EQ(plan_->count(kWrites) - writes, 1u);
  EXPECT_EQ(file_->size(), size);
}

TEST_F(Qcow1LayerTest, UnallocatedRunsGoOnAcrossMissingTables) {
  start();
  EXPECT_EQ(layer().map({0}, kDiskBytes).length_bytes, kDiskBytes);
  EXPECT_EQ(kind(0), ExtentKind::unallocated);
}

TEST_F(Qcow1LayerTest, CompressedClustersArePackedAndRead) {
  start();
  write_compressed(0, pattern(1, kCluster));
  write_compressed(kCluster, pattern(2, kCluster));
  const LayerExtent first = layer().map({0}, kDiskBytes);
  const LayerExtent second = layer().map({kCluster}, kDiskBytes);
  EXPECT_EQ(first.kind, ExtentKind::compressed);
  EXPECT_EQ(first.length_bytes, kCluster);
  EXPECT_EQ(second.host_offset, first.host_offset + first.compressed_bytes);
  EXPECT_EQ(read(0, kCluster), pattern(1, kCluster));
  const std::vector<std::byte> content = pattern(2, kCluster);
  EXPECT_EQ(read(kCluster + 7, 100),
            std::vector<std::byte>(content.begin() + 7, content.begin() + 107));
  reopen();
  EXPECT_EQ(read(0, kCluster), pattern(1, kCluster));
}

TEST_F(Qcow1LayerTest, WhatDoesNotCompressIsWrittenPlain) {
  start();
  EXPECT_TRUE(layer().compress(noise(1, kCluster), 0).bytes.empty());
  write_compressed(0, noise(1, kCluster));
  EXPECT_EQ(kind(0), ExtentKind::data);
  EXPECT_EQ(read(0, kCluster), noise(1, kCluster));
}

TEST_F(Qcow1LayerTest, CompressedWriteToAHostClusterStaysThere) {
  start();
  layer().write({0}, noise(1, kCluster));
  const std::uint64_t size = file_->size();
  write_compressed(0, pattern(2, kCluster));
  EXPECT_EQ(kind(0), ExtentKind::data);
  EXPECT_EQ(file_->size(), size);
  EXPECT_EQ(read(0, kCluster), pattern(2, kCluster));
}

TEST_F(Qcow1LayerTest, PartOfACompressedClusterMovesItWhole) {
  start();
  std::vector<std::byte> expected = pattern(1, kCluster);
  write_compressed(0, expected);
  layer().write({100}, noise(2, 50));
  const auto part = noise(2, 50);
  std::copy(part.begin(), part.end(), expected.begin() + 100);
  EXPECT_EQ(kind(0), ExtentKind::data);
  EXPECT_EQ(read(0, kCluster), expected);
}

TEST_F(Qcow1LayerTest, CompressedWriteOfAPartIsRefused) {
  start();
  const auto bytes = pattern(1, 100);
  const CompressedCluster none;
  EXPECT_EQ(error_of([&] { layer().write_compressed({0}, none, bytes); }).code(),
            Errc::invalid_argument);
  EXPECT_EQ(error_of([&] { layer().write_compressed({512}, none, pattern(1, kCluster)); }).code(),
            Errc::invalid_argument);
}

TEST_F(Qcow1LayerTest, ZeroesOnNothingStayNothing) {
  start();
  layer().write_zeroes({100}, kDiskBytes - 100, false);
  EXPECT_EQ(layer().map({0}, kDiskBytes).kind, ExtentKind::unallocated);
  EXPECT_EQ(layer().map({0}, kDiskBytes).length_bytes, kDiskBytes);
}

TEST_F(Qcow1LayerTest, ZeroesUnlinkCompressedClusters) {
  start();
  write_compressed(0, pattern(1, kCluster));
  layer().write_zeroes({0}, kCluster, true);
  EXPECT_EQ(kind(0), ExtentKind::unallocated);
  reopen();
  EXPECT_EQ(read(0, kCluster), std::vector<std::byte>(kCluster));
}

TEST_F(Qcow1LayerTest, ZeroesKeepHostClusters) {
  start();
  layer().write({0}, noise(1, 2 * kCluster));
  const std::uint64_t size = file_->size();
  layer().write_zeroes({10}, 2 * kCluster - 20, true);
  EXPECT_EQ(kind(0), ExtentKind::data);
  EXPECT_EQ(file_->size(), size);
  EXPECT_EQ(read(10, 2 * kCluster - 20), std::vector<std::byte>(2 * kCluster - 20));
}

TEST_F(Qcow1LayerTest, ZeroesHideTheBackingFile) {
  start(true);
  const auto below = qcow1_initial_content(shape_);
  layer().write_zeroes({kCluster + 10}, 5 * kCluster, true);
  auto expected = below;
  std::fill_n(expected.begin() + kCluster + 10, 5 * kCluster, std::byte{0});
  EXPECT_TRUE(disk_->read_all() == expected);
  reopen();
  EXPECT_TRUE(disk_->read_all() == expected);
}

TEST_F(Qcow1LayerTest, DiscardOverABackingFileDoesNothing) {
  start(true);
  layer().write({0}, noise(1, kCluster));
  layer().discard({0}, 10 * kCluster);
  EXPECT_EQ(read(0, kCluster), noise(1, kCluster));
  EXPECT_EQ(kind(kCluster), ExtentKind::unallocated);
}

TEST_F(Qcow1LayerTest, WriteInPlaceGivesRunsAndLinksThemAfterwards) {
  start();
  write_compressed(2 * kCluster, pattern(1, kCluster));
  layer().write({5 * kCluster}, noise(1, kCluster));
  std::vector<std::uint64_t> runs;
  layer().write_in_place({kCluster}, 6 * kCluster,
                         [&](Storage& storage, std::uint64_t host_offset,
                             std::uint64_t guest_offset, std::uint64_t length_bytes) {
                           runs.push_back(length_bytes);
                           storage.write(host_offset, noise(guest_offset, length_bytes));
                         });
  EXPECT_EQ(runs, (std::vector<std::uint64_t>{4 * kCluster, kCluster, kCluster}));
  EXPECT_EQ(read(kCluster, 4 * kCluster), noise(kCluster, 4 * kCluster));
  EXPECT_EQ(error_of([&] { layer().write_in_place({1}, kCluster, {}); }).code(),
            Errc::invalid_argument);
}

TEST_F(Qcow1LayerTest, FillThatThrowsChangesNothing) {
  start();
  const auto fail = [](Storage&, std::uint64_t, std::uint64_t, std::uint64_t) {
    throw Error(Errc::cancelled, "enough");
  };
  EXPECT_EQ(error_of([&] { layer().write_in_place({0}, kCluster, fail); }).code(), Errc::cancelled);
  EXPECT_EQ(kind(0), ExtentKind::unallocated);
}

// The table stays although the data did not arrive; it must not be given away again.
TEST_F(Qcow1LayerTest, TableWhoseFirstClusterFailedIsInTheFile) {
  shape_ = {"LargeTables", 9, 13, kDiskBytes};
  format_qcow1(*file_, shape_);
  reopen();
  plan_->arm({.operations = kWrites, .at = 1});
  EXPECT_EQ(error_of([&] { layer().write({0}, noise(1, 512)); }).code(), std::errc::io_error);
  reopen();
  layer().write({512 * 100}, noise(2, 512));
  layer().write({0}, noise(3, 512));
  reopen();
  EXPECT_EQ(read(512 * 100, 512), noise(2, 512));
  EXPECT_EQ(read(0, 512), noise(3, 512));
  EXPECT_EQ(read(512, 512), std::vector<std::byte>(512));
}

TEST_F(Qcow1LayerTest, EmptyingCutsTheFileOffBehindTheL1Table) {
  start(true);
  layer().write({0}, noise(1, 20 * kCluster));
  write_compressed(30 * kCluster, pattern(1, kCluster));
  layer().make_empty();
  EXPECT_EQ(file_->size(), qcow1::Qcow1Layer::read_header(*file_).l1_table_end().value);
  EXPECT_TRUE(disk_->read_all() == qcow1_initial_content(shape_));
  layer().write({kCluster}, noise(2, kCluster));
  reopen();
  EXPECT_EQ(read(kCluster, kCluster), noise(2, kCluster));
}

TEST_F(Qcow1LayerTest, EmptyingLeavesWhatSomebodyMayStillRead) {
  start();
  layer().write({0}, noise(1, kCluster));
  const std::uint32_t pin = layer().pin();
  const LayerExtent held = layer().map({0}, kCluster);
  layer().make_empty();
  layer().write({0}, noise(2, kCluster));
  std::vector<std::byte> bytes(kCluster);
  held.storage->read(held.host_offset.value, bytes);
  EXPECT_EQ(bytes, noise(1, kCluster));
  EXPECT_EQ(read(0, kCluster), noise(2, kCluster));
  layer().unpin(pin);
}

TEST_F(Qcow1LayerTest, InvalidateShowsWhatSomebodyElseHasWritten) {
  start();
  EXPECT_EQ(read(0, 512), std::vector<std::byte>(512));
  layer().write({kCluster}, noise(1, kCluster));
  layer().flush();
  {
    Qcow1Disk other(shape_, std::make_unique<FaultStorage>(file_));
    other.layer().write({0}, noise(2, kCluster));
    other.layer().close();
  }
  layer().invalidate();
  EXPECT_EQ(read(0, kCluster), noise(2, kCluster));
  layer().write({2 * kCluster}, noise(3, kCluster));
  EXPECT_EQ(read(0, 2 * kCluster).size(), 2 * kCluster);
  EXPECT_EQ(read(kCluster, kCluster), noise(1, kCluster));
  EXPECT_EQ(read(0, kCluster), noise(2, kCluster));
}

TEST_F(Qcow1LayerTest, ReadOnlyRefusesChanges) {
  start();
  reopen(Qcow1Disk::Mode::read_only);
  const auto bytes = noise(1, 512);
  EXPECT_EQ(error_of([&] { layer().write({0}, bytes); }).code(), Errc::read_only);
  EXPECT_EQ(error_of([&] { layer().write_zeroes({0}, 1, false); }).code(), Errc::read_only);
  EXPECT_EQ(error_of([&] { layer().discard({0}, 1); }).code(), Errc::read_only);
  EXPECT_EQ(error_of([&] { layer().make_empty(); }).code(), Errc::read_only);
  EXPECT_NO_THROW(layer().flush());
}

TEST_F(Qcow1LayerTest, WhatTheFormatLacksIsUnsupported) {
  start();
  EXPECT_EQ(error_of([&] { layer().resize(1 << 20, {}); }).code(), Errc::unsupported);
  EXPECT_EQ(error_of([&] { layer().amend({}); }).code(), Errc::unsupported);
  EXPECT_EQ(error_of([&] { layer().check({}); }).code(), Errc::unsupported);
  EXPECT_EQ(error_of([&] { layer().create_snapshot({}); }).code(), Errc::unsupported);
  EXPECT_EQ(error_of([&] { layer().add_bitmap({}); }).code(), Errc::unsupported);
}

TEST_F(Qcow1LayerTest, DescribeTellsShapeBackingFileAndEncryption) {
  start(true, true);
  ImageInfo info;
  layer().describe(info);
  EXPECT_EQ(info.virtual_size_bytes, kDiskBytes);
  EXPECT_EQ(info.cluster_size_bytes, kCluster);
  EXPECT_EQ(info.backing_file, "base.raw");
  EXPECT_EQ(info.backing_format, "");
  EXPECT_TRUE(info.encrypted);
  EXPECT_EQ(info.encryption, EncryptionFormat::aes);
  EXPECT_FALSE(info.qcow2.has_value());
}

TEST_F(Qcow1LayerTest, FlushThatFailedStaysFailed) {
  start();
  layer().write({0}, noise(1, kCluster));
  plan_->arm({.operations = kFlushes});
  EXPECT_EQ(error_of([&] { layer().flush(); }).code(), std::errc::io_error);
  plan_->disarm();
  EXPECT_EQ(error_of([&] { layer().flush(); }).code(), std::errc::io_error);
  EXPECT_EQ(read(0, kCluster), noise(1, kCluster));
}

// --- Encryption

TEST_F(Qcow1LayerTest, EncryptedClusterHoldsCipherTextInEverySector) {
  start(false, true);
  layer().write({5000}, pattern(1, 10));
  const LayerExtent extent = layer().map({kCluster}, 1);
  EXPECT_TRUE(extent.is_encrypted);
  std::vector<std::byte> stored(kCluster);
  file_->read(extent.host_offset.value, stored);
  for (std::size_t at = 0; at < kCluster; at += 512) {
    EXPECT_NE(std::vector<std::byte>(stored.begin() + static_cast<std::ptrdiff_t>(at),
                                     stored.begin() + static_cast<std::ptrdiff_t>(at) + 512),
              std::vector<std::byte>(512))
        << "sector " << at / 512;
  }
  EXPECT_EQ(read(kCluster, 5000 - kCluster), std::vector<std::byte>(5000 - kCluster));
  EXPECT_EQ(read(5000, 10), pattern(1, 10));
}

TEST_F(Qcow1LayerTest, CompressedClustersAreNotEncrypted) {
  start(false, true);
  write_compressed(0, pattern(1, kCluster));
  EXPECT_EQ(layer().map({0}, 1).kind, ExtentKind::compressed);
  EXPECT_FALSE(layer().map({0}, 1).is_encrypted);
  EXPECT_EQ(read(0, kCluster), pattern(1, kCluster));
}

TEST_F(Qcow1LayerTest, WithoutItsSecretAnEncryptedImageOnlyTellsOfItself) {
  start(false, true);
  auto storage = std::make_unique<FaultStorage>(file_);
  const qcow1::Header header = qcow1::Qcow1Layer::read_header(*storage);
  qcow1::Qcow1Layer locked(std::move(storage), header, {false, 0, nullptr});
  ImageInfo info;
  locked.describe(info);
  EXPECT_TRUE(info.encrypted);
  const std::string required = "Parameter 'encrypt.key-secret' is required for cipher";
  std::vector<std::byte> bytes(512);
  EXPECT_TRUE(mentions(error_of([&] { locked.read({0}, bytes); }), {required}));
  EXPECT_TRUE(mentions(error_of([&] { locked.write({0}, bytes); }), {required}));
  EXPECT_TRUE(mentions(error_of([&] { locked.map({0}, 1); }), {required}));
}

TEST_F(Qcow1LayerTest, SecretForAPlainImageIsRefused) {
  start();
  auto storage = std::make_unique<FaultStorage>(file_);
  const qcow1::Header header = qcow1::Qcow1Layer::read_header(*storage);
  qcow1::LayerOptions options;
  options.secret = std::make_shared<const Secret>(std::string_view("x"));
  EXPECT_TRUE(mentions(error_of([&] { qcow1::Qcow1Layer(std::move(storage), header, options); }),
                       {"No encryption in image header, but options specified format 'aes'"}));
}

// --- Damage

class Qcow1Damage : public Qcow1LayerTest {
 protected:
  void SetUp() override {
    start();
    layer().write({0}, noise(1, 2 * kCluster));
    write_compressed(4 * kCluster, pattern(1, kCluster));
    layer().flush();
  }
  std::uint64_t field(std::uint64_t host_offset) {
    be64 raw;
    file_->read(host_offset, std::as_writable_bytes(std::span(&raw, 1)));
    return raw;
  }
  void set_field(std::uint64_t host_offset, std::uint64_t value) {
    const be64 raw = value;
    file_->write(host_offset, std::as_bytes(std::span(&raw, 1)));
  }
  std::uint64_t l2_entry(std::uint64_t cluster) { return field(kL1Table) + 8 * cluster; }
  void expect_corrupt(const std::vector<std::string>& words, const std::function<void()>& request) {
    const Error error = error_of(request);
    EXPECT_EQ(error.code(), Errc::corrupt) << error.message();
    EXPECT_TRUE(mentions(error, words));
  }

  static constexpr std::uint64_t kL1Table = 48;
  static constexpr std::uint64_t kL1TableOffset = 40;  // the header's field
};

TEST_F(Qcow1Damage, L2TableInTheHeaderOrBeyondAllFilesIsCorrupt) {
  for (const std::uint64_t table : {std::uint64_t{1}, std::uint64_t{40}, std::uint64_t{48},
                                    std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    set_field(kL1Table, table);
    reopen();
    expect_corrupt({"L1 table", "entry 0"}, [&] { read(0, 512); });
    expect_corrupt({"L1 table", "entry 0"}, [&] { layer().write({0}, noise(1, 512)); });
  }
}

TEST_F(Qcow1Damage, UnalignedClusterIsCorrupt) {
  set_field(l2_entry(0), 0x2001);
  reopen();
  expect_corrupt({"L2 table", "guest offset 0x0", "0x2001"}, [&] { read(0, 512); });
  expect_corrupt({"L2 table"}, [&] { layer().write({0}, noise(1, 512)); });
}

TEST_F(Qcow1Damage, ClusterWhereTheL1TableLiesIsNotWritten) {
  const std::uint64_t entry = l2_entry(0);
  const std::uint64_t moved = align_up(file_->size(), 512);
  set_field(moved, field(kL1Table));
  set_field(moved + 8, 0);
  set_field(kL1TableOffset, moved);
  set_field(entry, moved);
  reopen();
  EXPECT_NO_THROW(read(0, 512));
  expect_corrupt({"L2 table", "guest offset 0x0", "the L1 table lies"},
                 [&] { layer().write({0}, noise(1, 512)); });
}

TEST_F(Qcow1Damage, DamagedStreamIsCorrupt) {
  const LayerExtent extent = layer().map({4 * kCluster}, 1);
  file_->write(extent.host_offset.value,
               std::vector<std::byte>(extent.compressed_bytes, std::byte{0xff}));
  expect_corrupt({"compressed cluster at host offset", "do not decompress"},
                 [&] { read(4 * kCluster, 512); });
  // A write of the whole cluster does not need what was there.
  layer().write({4 * kCluster}, noise(1, kCluster));
  EXPECT_EQ(read(4 * kCluster, kCluster), noise(1, kCluster));
}

TEST_F(Qcow1Damage, ClusterBeyondTheFilesEndReadsAsZeroes) {
  set_field(l2_entry(0), 1 << 30);
  reopen();
  EXPECT_EQ(read(0, kCluster), std::vector<std::byte>(kCluster));
}

TEST_F(Qcow1Damage, TruncatedL1TableIsCorrupt) {
  file_->resize(kL1Table + 15, Preallocation::off);
  expect_corrupt({"L1 table", "beyond the end of the file"},
                 [&] { qcow1::Qcow1Layer::read_header(*file_); });
}

TEST_F(Qcow1Damage, NameBeyondTheFilesEndIsCorrupt) {
  set_field(8, file_->size() - 5);        // backing_file_offset
  set_field(16, std::uint64_t{6} << 32);  // backing_file_size
  expect_corrupt({"backing file name", "beyond the end of the file"},
                 [&] { qcow1::Qcow1Layer::read_header(*file_); });
}

TEST_F(Qcow1Damage, NameEndsAtAZeroByte) {
  const std::uint64_t place = file_->size() - 8;
  set_field(place, 0x612f620063646566);   // "a/b", a zero byte, "cdef"
  set_field(8, place);                    // backing_file_offset
  set_field(16, std::uint64_t{8} << 32);  // backing_file_size
  EXPECT_EQ(qcow1::Qcow1Layer::read_header(*file_).backing_file, "a/b");
}

}  // namespace
}  // namespace qcowkit::test
