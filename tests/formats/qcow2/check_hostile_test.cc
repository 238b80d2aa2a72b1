// Images damaged at random, and images made to wear a check out.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <utility>

#include "formats/qcow2/check.h"
#include "formats/qcow2/l1_entry.h"
#include "formats/qcow2/l2_entry.h"
#include "qcowkit/error.h"
#include "tests/formats/qcow2/check_damages.h"

namespace qcowkit::qcow2 {
namespace {

using test::guest_view;
using test::ImageShape;
using test::rich_image;
using test::SmallImage;
using test::Verdict;
using test::verdict_of;

std::vector<std::byte> content(Storage& storage) {
  std::vector<std::byte> bytes(storage.size());
  storage.read(0, bytes);
  return bytes;
}

/// Changes a few words of metadata: bits, whole words, or words copied from elsewhere.
void damage(SmallImage& image, std::mt19937& random) {
  const std::uint64_t words = image.bytes.size() / 8;
  const auto metadata_word = [&]() -> std::uint64_t {
    const std::uint64_t per_cluster = image.g.cluster_size() / 8;
    std::vector<std::uint64_t> tables = {image.refcount_table_offset, image.l1_offset,
                                         image.refcount_block(0),     image.l2_table(0),
                                         image.snapshots_offset,      image.bitmap_directory_offset,
                                         image.bitmap_table_offset};
    tables.insert(tables.end(), image.snapshot_l1_offsets.begin(), image.snapshot_l1_offsets.end());
    const std::uint64_t table = tables[random() % tables.size()] / 8;
    // Mostly where something is.
    return table + (random() % 2 == 0 ? random() % 16 : random() % per_cluster);
  };
  const std::uint64_t changes = 1 + random() % 4;
  for (std::uint64_t i = 0; i < changes; ++i) {
    const std::uint64_t at = metadata_word() % words * 8;
    switch (random() % 4) {
      case 0:
        image.flip(at, std::uint64_t{1} << random() % 64);
        break;
      case 1:
        image.set64(at, std::uint64_t{random()} << 32 | random());
        break;
      case 2:
        image.set64(at, image.get64(metadata_word() % words * 8));
        break;
      default:  // something that looks like an entry
        image.set64(at, (random() % (image.bytes.size() / image.g.cluster_size() + 2)) *
                                image.g.cluster_size() |
                            (random() % 2 == 0 ? RawL2Entry::kCopied : 0));
        break;
    }
  }
  if (random() % 8 == 0) image.bytes.resize(image.bytes.size() / 2 + random() % 4096);
}

/// Errors other than wrong COPIED flags. These may come to light by repair, and stay in tables that
/// are also something else.
std::ptrdiff_t errors_but_flags(Storage& storage) {
  const CheckReport report = test::check(storage);
  return std::ranges::count_if(report.messages, [](const std::string& line) {
    return line.rfind("ERROR", 0) == 0 && line.find("OFLAG_COPIED") == std::string::npos;
  });
}

/// The first seed, and how many: QCOWKIT_SEED=s in the environment replays one.
std::pair<unsigned, unsigned> seeds() {
  if (const char* one = std::getenv("QCOWKIT_SEED")) {
    return {static_cast<unsigned>(std::strtoul(one, nullptr, 10)), 1};
  }
  return {std::random_device{}(), 100};
}

class RandomlyDamaged : public testing::TestWithParam<ImageShape> {};

TEST_P(RandomlyDamaged, IsCheckedAndRepairedWithoutHarm) {
  const auto [first_seed, number] = seeds();
  for (unsigned i = 0; i < number; ++i) {
    const unsigned seed = first_seed + i;
    SCOPED_TRACE(testing::Message() << "QCOWKIT_SEED=" << seed);
    std::mt19937 random(seed);
    SmallImage image = rich_image(GetParam());
    damage(image, random);

    auto storage = image.storage();
    Verdict found;
    std::ptrdiff_t errors_found = 0;
    std::vector<std::string> view;
    try {
      found = verdict_of(test::check(*storage));
      errors_found = errors_but_flags(*storage);
      view = guest_view(*storage, image);
    } catch (const Error&) {
      continue;  // refused as a whole
    }
    ASSERT_EQ(content(*storage), image.bytes) << "a check without repair has written";

    for (const Repair repair : {Repair::leaks, Repair::all}) {
      auto repaired = image.storage();
      const CheckReport report = test::check(*repaired, repair);
      EXPECT_EQ(verdict_of(test::check(*repaired)), verdict_of(report));
      const std::vector<std::string> view_after = guest_view(*repaired, image);
      ASSERT_EQ(view_after.size(), view.size());
      for (std::size_t k = 0; k < view.size(); ++k) {
        if (view[k].rfind("2 ", 0) == 0) continue;  // invalid before
        ASSERT_EQ(view[k], view_after[k])
            << "guest cluster " << k << ", repair " << static_cast<int>(repair);
      }
      if (found == Verdict{}) {
        EXPECT_EQ(verdict_of(report), Verdict{});
      }
      if (repair == Repair::all) {
        EXPECT_LE(errors_but_flags(*repaired), errors_found);
        const std::vector<std::byte> once = content(*repaired);
        test::check(*repaired, Repair::all);
        EXPECT_EQ(content(*repaired), once) << "a second repair had something to do";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, RandomlyDamaged,
                         testing::Values(ImageShape{}, ImageShape{.version = 2},
                                         ImageShape{.refcount_order = 6},
                                         ImageShape{.cluster_bits = 14, .extended_l2 = true}));

// --- images made to wear a check out

TEST(HostileImage, WithAllL1EntriesOnOneTableIsCheckedOnce) {
  SmallImage image(ImageShape{.cluster_bits = 16});
  for (std::uint64_t i = 0; i < 8192; ++i) image.map_plain_zero(i);
  image.map(3);
  image.finish();
  // 4 Mi entries, the most that there may be.
  const std::uint64_t l1 = image.end();
  constexpr std::uint64_t kEntries = 4u << 20;
  image.bytes.resize(l1 + kEntries * 8);
  for (std::uint64_t i = 0; i < kEntries; ++i)
    image.set64(l1 + i * 8, image.get64(image.l1_entry(0)));
  image.set64(40, l1);
  image.set32(36, kEntries);
  auto storage = image.storage();
  const CheckReport report = test::check(*storage);
  EXPECT_EQ(report.allocated_clusters, kEntries);
  EXPECT_GT(report.corruptions, 2u);  // the table and the cluster overflow
}

TEST(HostileImage, WithOffsetsAllOverTheAddressSpaceTakesNoMemoryForThem) {
  SmallImage image(ImageShape{.cluster_bits = 12});
  for (std::uint64_t i = 0; i < 512; ++i) image.map_plain_zero(i);
  image.finish();
  std::mt19937_64 random(7);
  for (std::uint64_t i = 0; i < 512; ++i) {
    image.set64(image.l2_entry(i), random() & 0x00fffffffffff000);
  }
  auto storage = image.storage();
  EXPECT_GE(test::check(*storage).corruptions, 500u);
  EXPECT_GE(test::check(*storage, Repair::all).corruptions, 500u);
}

TEST(HostileImage, ThatIsAHugeHoleIsRefusedOrCheckedQuickly) {
  SmallImage image = rich_image(ImageShape{.cluster_bits = 16});
  auto storage = image.storage();
  storage->resize(std::uint64_t{1} << 47, Preallocation::off);
  EXPECT_EQ(verdict_of(test::check(*storage)), Verdict{});
  storage->resize(std::uint64_t{1} << 60, Preallocation::off);
  try {
    test::check(*storage);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Errc::limit_exceeded);
  }
}

TEST(HostileImage, WithManySnapshotsOfOverlappingL1TablesIsGivenUpOn) {
  SmallImage image(ImageShape{.cluster_bits = 16});
  image.map_plain_zero(0);
  image.take_snapshot();
  image.finish();
  // Each snapshot has a longer L1 table at the same place, nearly as large as may be.
  constexpr std::uint32_t kSnapshots = 1000;
  const std::uint64_t table = image.end();
  image.lengthen(2);
  for (std::uint64_t i = 0; i < kSnapshots; ++i) {
    const std::uint64_t at = table + i * 56;
    image.set64(at, image.l1_offset);
    image.set64(at + 8, (std::uint64_t{4000000} + i) << 32);
    image.set64(at + 32, 16);
  }
  image.set64(64, table);
  image.set32(60, kSnapshots);
  image.bytes.resize(image.end() + (32u << 20));
  auto storage = image.storage();
  const CheckReport report = test::check(*storage);
  EXPECT_TRUE(std::any_of(report.messages.begin(), report.messages.end(), [](const std::string& m) {
    return m.find("L1 tables of snapshots overlap") != std::string::npos;
  }));
}

TEST(HostileImage, ThatPointsAtItselfInALoopIsChecked) {
  // L1 entry -> L1 table -> ... and an L2 table whose entries lead to L2 tables.
  SmallImage image = rich_image();
  image.set64(image.l1_entry(2), image.l1_offset | L1Entry::kCopied);
  for (std::uint64_t i = 0; i < 64; ++i) {
    image.set64(image.l2_table(0) + i * 8, image.l2_table(i % 2) | RawL2Entry::kCopied);
  }
  auto storage = image.storage();
  const CheckReport report = test::check(*storage, Repair::all);
  EXPECT_EQ(verdict_of(test::check(*storage)), verdict_of(report));
}

}  // namespace
}  // namespace qcowkit::qcow2
