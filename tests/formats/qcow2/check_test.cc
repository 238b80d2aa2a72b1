// Checks and repairs of images, sound and damaged in every way that there is.
#include "formats/qcow2/check.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "formats/qcow2/l1_entry.h"
#include "formats/qcow2/l2_entry.h"
#include "qcowkit/error.h"
#include "tests/formats/qcow2/check_damages.h"
#include "tests/formats/qcow2/check_fixture.h"

namespace qcowkit::qcow2 {

using test::check;
using test::Damage;
using test::guest_view;
using test::ImageShape;
using test::rich_image;
using test::SmallImage;
using test::Verdict;
using test::verdict_of;

namespace {

std::vector<std::byte> content(Storage& storage) {
  std::vector<std::byte> bytes(storage.size());
  storage.read(0, bytes);
  return bytes;
}

std::string all_messages(const CheckReport& report) {
  std::string all;
  for (const std::string& line : report.messages) all += line + "\n";
  return all;
}

bool has_message(const CheckReport& report, const std::string& part) {
  return std::any_of(report.messages.begin(), report.messages.end(),
                     [&](const std::string& line) { return line.find(part) != std::string::npos; });
}

// --- sound images

class SoundImage : public testing::TestWithParam<ImageShape> {};

TEST_P(SoundImage, HasNothingToReport) {
  SmallImage image = rich_image(GetParam());
  auto storage = image.storage();
  const CheckReport report = check(*storage);
  EXPECT_EQ(verdict_of(report), Verdict{}) << all_messages(report);
  EXPECT_TRUE(report.messages.empty());
  EXPECT_EQ(report.image_end_offset, image.end());
}

TEST_P(SoundImage, IsLeftAloneByRepair) {
  SmallImage image = rich_image(GetParam());
  for (const Repair repair : {Repair::leaks, Repair::all}) {
    auto storage = image.storage();
    const CheckReport report = check(*storage, repair);
    EXPECT_EQ(report.corruptions_fixed + report.leaks_fixed, 0u);
    EXPECT_EQ(content(*storage), image.bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, SoundImage,
    testing::Values(ImageShape{}, ImageShape{.version = 2}, ImageShape{.cluster_bits = 12},
                    ImageShape{.cluster_bits = 16}, ImageShape{.refcount_order = 0},
                    ImageShape{.refcount_order = 2}, ImageShape{.refcount_order = 3},
                    ImageShape{.refcount_order = 5}, ImageShape{.refcount_order = 6},
                    ImageShape{.cluster_bits = 14, .extended_l2 = true},
                    ImageShape{.data_file = true}),
    [](const testing::TestParamInfo<ImageShape>& sound) {
      const ImageShape& s = sound.param;
      return fmt::format("Version{}Clusters{}RefcountOrder{}{}{}", s.version, 1u << s.cluster_bits,
                         s.refcount_order, s.extended_l2 ? "Extended" : "",
                         s.data_file ? "DataFile" : "");
    });

TEST(Check, CountsClustersLikeTheSpecificationsWords) {
  SmallImage image(ImageShape{});
  for (std::uint64_t i = 0; i < 4; ++i) image.map(i);  // in a row
  image.map(64);                                       // its L2 table lies between: no fragment
  image.map(6);                                        // behind it: a fragment
  image.map_compressed(7);                             // compressed ones count as fragments
  image.map_plain_zero(8);                             // not allocated
  image.finish();
  auto storage = image.storage();
  const CheckReport report = check(*storage);
  EXPECT_EQ(report.total_clusters, SmallImage::kL1Entries * 64);
  EXPECT_EQ(report.allocated_clusters, 7u);
  EXPECT_EQ(report.compressed_clusters, 1u);
  EXPECT_EQ(report.fragmented_clusters, 2u);
}

TEST(Check, ReportsProgressUpToTheEnd) {
  auto storage = rich_image().storage();
  for (const Repair repair : {Repair::none, Repair::all}) {
    std::vector<double> seen;
    CheckOptions options;
    options.repair = repair;
    options.progress = [&](double fraction) { seen.push_back(fraction); };
    check_image(*storage, test::read_header(*storage), options);
    ASSERT_FALSE(seen.empty());
    EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
    EXPECT_EQ(seen.back(), 1.0);
  }
}

TEST(Check, EndsWhenStopped) {
  auto storage = rich_image().storage();
  std::stop_source source;
  source.request_stop();
  CheckOptions options;
  options.stop = source.get_token();
  try {
    check_image(*storage, test::read_header(*storage), options);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Errc::cancelled);
  }
}

// --- damaged images

class DamagedImage : public testing::TestWithParam<Damage> {};

TEST_P(DamagedImage, IsReported) {
  SmallImage image = GetParam().make();
  auto storage = image.storage();
  const CheckReport report = check(*storage);
  EXPECT_EQ(verdict_of(report), GetParam().found) << all_messages(report);
  if (!GetParam().message.empty()) {
    EXPECT_TRUE(has_message(report, GetParam().message)) << all_messages(report);
  }
  EXPECT_EQ(content(*storage), image.bytes) << "a check without repair has written";
}

TEST_P(DamagedImage, RepairOfLeaksChangesNothingButRefcountsAndFlags) {
  SmallImage image = GetParam().make();
  auto storage = image.storage();
  const CheckReport report = check(*storage, Repair::leaks);
  EXPECT_EQ(verdict_of(report), GetParam().left_by_leaks) << all_messages(report);

  const std::vector<std::byte> after = content(*storage);
  ASSERT_EQ(after.size(), image.bytes.size());
  for (std::uint64_t at = 0; at < after.size(); at += 8) {
    const std::uint64_t changed =
        image.get64(at) ^ load_big_endian<std::uint64_t>(after.data() + at);
    if (changed == 0 || changed == RawL2Entry::kCopied) continue;
    const std::uint64_t cluster = at & ~(image.g.cluster_size() - 1);
    const bool in_block = cluster == image.refcount_block(0) || cluster == image.refcount_block(1);
    const bool in_features = at == 72 && (changed & ~std::uint64_t{3}) == 0;
    // What was freed may be discarded.
    const bool was_freed = image.refcount(image.cluster_of(at)) != 0 &&
                           load_big_endian<std::uint64_t>(after.data() + at) == 0 &&
                           report.corruptions == 0 && report.leaks_fixed > 0;
    EXPECT_TRUE(in_block || in_features || was_freed) << fmt::format("at {:#x}", at);
  }
}

TEST_P(DamagedImage, RepairOfAllLeavesNoMoreThanItMust) {
  SmallImage image = GetParam().make();
  auto storage = image.storage();
  const CheckReport report = check(*storage, Repair::all);
  EXPECT_EQ(verdict_of(report), GetParam().left_by_all) << all_messages(report);
  EXPECT_EQ(verdict_of(check(*storage)), GetParam().left_by_all) << "the report was not true";
  if (GetParam().left_by_all == Verdict{} && GetParam().found != Verdict{}) {
    EXPECT_GT(report.corruptions_fixed + report.leaks_fixed, 0u);
  }
}

TEST_P(DamagedImage, RepairOfAllDoesNotChangeWhatTheGuestReads) {
  SmallImage image = GetParam().make();
  auto storage = image.storage();
  const std::vector<std::string> before = guest_view(*storage, image);
  check(*storage, Repair::all);
  const std::vector<std::string> after = guest_view(*storage, image);
  ASSERT_EQ(before.size(), after.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    // An invalid entry that was made valid is what repair is for.
    if (before[i].rfind("2 ", 0) == 0) continue;
    EXPECT_EQ(before[i], after[i]) << "guest cluster " << i;
  }
}

TEST_P(DamagedImage, IsRepairedAtOnce) {
  auto storage = GetParam().make().storage();
  check(*storage, Repair::all);
  const std::vector<std::byte> once = content(*storage);
  const CheckReport again = check(*storage, Repair::all);
  EXPECT_EQ(again.corruptions_fixed + again.leaks_fixed, 0u) << all_messages(again);
  EXPECT_EQ(content(*storage), once);
}

INSTANTIATE_TEST_SUITE_P(Damages, DamagedImage, testing::ValuesIn(test::damages()),
                         [](const testing::TestParamInfo<Damage>& damage) {
                           return damage.param.name;
                         });

// --- particulars

TEST(CheckMessages, ReadLikeTheReferences) {
  SmallImage image(ImageShape{});
  for (std::uint64_t i = 0; i < 4; ++i) image.map(i);
  image.finish();
  const std::uint64_t leaked = image.cluster_of(image.end());
  image.lengthen(1);
  image.set_refcount(leaked, 1);
  image.set_refcount(image.cluster_of(image.data(1)), 0);
  auto storage = image.storage();
  const std::uint64_t lost = image.data(1) >> 9;
  EXPECT_EQ(check(*storage).messages,
            (std::vector<std::string>{
                fmt::format("ERROR cluster {} refcount=0 reference=1", lost),
                fmt::format("Leaked cluster {} refcount=1 reference=0", leaked),
                fmt::format("ERROR OFLAG_COPIED data cluster: l2_entry={:x} refcount=0",
                            image.get64(image.l2_entry(1)))}));
  const CheckReport repaired = check(*storage, Repair::all);
  EXPECT_EQ(repaired.messages,
            (std::vector<std::string>{
                fmt::format("ERROR cluster {} refcount=0 reference=1", lost),
                fmt::format("Leaked cluster {} refcount=1 reference=0", leaked),
                fmt::format("Repairing cluster {} refcount=0 reference=1", lost),
                fmt::format("Repairing cluster {} refcount=1 reference=0", leaked)}));
  EXPECT_EQ(repaired.corruptions_fixed, 1u);
  EXPECT_EQ(repaired.leaks_fixed, 1u);
}

TEST(CheckMessages, AreBoundedWhileCountsAreNot) {
  SmallImage image(ImageShape{.cluster_bits = 16});
  image.map(0);
  image.finish();
  const std::uint64_t first = image.cluster_of(image.end());
  for (std::uint64_t i = 0; i < 12000; ++i) image.set_refcount(first + i, 1);
  auto storage = image.storage();
  storage->resize((first + 12000) << 16, Preallocation::off);
  const CheckReport report = check(*storage, Repair::leaks);
  EXPECT_EQ(report.leaks_fixed, 12000u);
  EXPECT_EQ(report.messages.size(), CheckReport::kMessagesMax);
  EXPECT_EQ(verdict_of(report), Verdict{});
}

TEST(CheckRepair, ClearsTheDirtyAndTheCorruptBitOnceAllIsWell) {
  SmallImage image = rich_image();
  image.flip(72, incompatible::kDirty | incompatible::kCorrupt);
  auto storage = image.storage();
  check(*storage);
  EXPECT_TRUE(test::read_header(*storage).has(incompatible::kDirty));
  check(*storage, Repair::leaks);
  EXPECT_FALSE(test::read_header(*storage).has(incompatible::kDirty));
  EXPECT_FALSE(test::read_header(*storage).has(incompatible::kCorrupt));
}

TEST(CheckRepair, KeepsTheCorruptBitWhileSomethingIsCorrupt) {
  SmallImage image = rich_image();
  image.flip(72, incompatible::kDirty | incompatible::kCorrupt);
  image.flip(image.l2_entry(3), 2);
  auto storage = image.storage();
  check(*storage, Repair::all);
  EXPECT_TRUE(test::read_header(*storage).has(incompatible::kCorrupt));
  EXPECT_FALSE(test::read_header(*storage).has(incompatible::kDirty)) << "refcounts are right";
}

TEST(CheckRepair, RebuildsAtTheEndAndGivesTheOldBlocksBack) {
  SmallImage image = rich_image();
  image.set64(image.refcount_table_offset + 8, image.refcount_block(0));
  auto storage = image.storage();
  const CheckReport report = check(*storage, Repair::all);
  EXPECT_TRUE(has_message(report, "Rebuilding refcount structure"));
  EXPECT_EQ(verdict_of(report), Verdict{}) << all_messages(report);
  const Header header = test::read_header(*storage);
  EXPECT_GE(header.refcount_table_offset.value, image.end());
  EXPECT_EQ(report.image_end_offset, storage->size());
}

TEST(CheckRepair, DoesNotPutNewStructuresWhereLostClustersWere) {
  // The file's end is gone, and with it clusters that L2 entries point to, and the refcount table
  // is damaged.
  SmallImage image(ImageShape{});
  for (std::uint64_t i = 0; i < 40; ++i) image.map(i);
  image.finish();
  const std::uint64_t last = image.data(39);
  image.bytes.resize(image.data(20));
  image.set64(image.refcount_table_offset + 8, image.refcount_block(0));
  auto storage = image.storage();
  const CheckReport report = check(*storage, Repair::all);
  EXPECT_GT(test::read_header(*storage).refcount_table_offset.value, last);
  EXPECT_EQ(verdict_of(report), Verdict{}) << all_messages(report);
  EXPECT_TRUE(has_message(report, "the file ends before them, they will read as zeroes"));
}

TEST(CheckRepair, LeavesATableAloneThatIsAlsoSomethingElse) {
  // An L1 entry points into guest data, whose bytes happen to look like an entry with a wrong flag.
  SmallImage image(ImageShape{});
  for (std::uint64_t i = 0; i < 4; ++i) image.map(i);
  image.finish();
  const std::uint64_t data = image.data(2);
  std::fill_n(image.bytes.begin() + static_cast<std::ptrdiff_t>(data), 512, std::byte{0});
  image.set64(data, image.data(1));
  image.set64(image.l1_entry(3), data);
  auto storage = image.storage();
  const std::vector<std::byte> before(
      image.bytes.begin() + static_cast<std::ptrdiff_t>(data),
      image.bytes.begin() + static_cast<std::ptrdiff_t>(data) + 512);
  check(*storage, Repair::all);
  std::vector<std::byte> after(512);
  storage->read(data, after);
  EXPECT_EQ(before, after);
}

TEST(CheckRepair, GivesHostSpaceOfLeakedClustersBack) {
  SmallImage image = rich_image();
  const std::uint64_t leaked = image.end();
  image.lengthen(8);
  std::fill(image.bytes.begin() + static_cast<std::ptrdiff_t>(leaked), image.bytes.end(),
            std::byte{1});
  for (std::uint64_t i = 0; i < 8; ++i) image.set_refcount(image.cluster_of(leaked) + i, 1);
  auto storage = image.storage();
  check(*storage, Repair::leaks);
  std::vector<std::byte> after(image.end() - leaked);
  storage->read(leaked, after);
  EXPECT_TRUE(
      std::all_of(after.begin(), after.end(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST(CheckRepair, KeepsTheBytesOfLeakedClustersWhileSomethingIsCorrupt) {
  // The L1 entry is damaged; what it led to seems leaked and may be rescued.
  SmallImage image = rich_image();
  const std::uint64_t data = image.data(70);
  image.set64(image.l1_entry(1), std::uint64_t{1} << 40);
  auto storage = image.storage();
  check(*storage, Repair::all);
  std::vector<std::byte> after(512);
  storage->read(data, after);
  EXPECT_TRUE(std::equal(after.begin(), after.end(),
                         image.bytes.begin() + static_cast<std::ptrdiff_t>(data)));
}

}  // namespace
}  // namespace qcowkit::qcow2
