// The crash disk itself: what a crash may leave, must leave and must not.
#include "tests/support/crash_storage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "qcowkit/error.h"

namespace qcowkit::test {
namespace {

using Bytes = std::vector<std::byte>;
constexpr std::size_t kSector = 512;
constexpr std::uint64_t kSeeds = 300;

Bytes filled(std::size_t length, int value) { return Bytes(length, static_cast<std::byte>(value)); }

Bytes content_of(Storage& storage) {
  Bytes bytes(storage.size());
  storage.read(0, bytes);
  return bytes;
}

/// All that can be left of the disk, as far as the seeds find it.
std::set<Bytes> outcomes(const CrashDisk& disk, std::uint64_t seeds = kSeeds) {
  std::set<Bytes> all;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    all.insert(content_of(*disk.crash_image(seed)));
  }
  return all;
}

bool is_off(Storage& storage) {
  try {
    storage.flush();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), std::errc::io_error);
    return true;
  }
  return false;
}

TEST(CrashDisk, FlushedBytesAlwaysSurvive) {
  CrashDisk disk;
  const auto storage = disk.open();
  storage->write(0, filled(2000, 1));
  storage->flush();
  EXPECT_EQ(disk.unflushed(), 0U);
  EXPECT_EQ(outcomes(disk), (std::set<Bytes>{filled(2000, 1)}));
}

TEST(CrashDisk, StartsWithDurableContent) {
  MemoryStorage start;
  start.write(0, filled(100, 1));
  CrashDisk disk(start);
  disk.open()->write(0, filled(100, 2));
  EXPECT_EQ(content_of(start), filled(100, 1));
  EXPECT_EQ(outcomes(disk), (std::set<Bytes>{filled(100, 1), filled(100, 2)}));
}

TEST(CrashDisk, ReadsSeeWhatIsNotDurable) {
  CrashDisk disk;
  disk.open()->write(0, filled(10, 1));
  EXPECT_EQ(content_of(*disk.open()), filled(10, 1));
  EXPECT_EQ(disk.open()->size(), 10U);
}

TEST(CrashDisk, SeedZeroLosesAllAndSeedOneKeepsAll) {
  CrashDisk disk;
  const auto storage = disk.open();
  for (int i = 0; i < 20; ++i) storage->write(static_cast<std::uint64_t>(i) * 700, filled(700, i));
  EXPECT_EQ(disk.crash_image(0)->size(), 0U);
  EXPECT_EQ(content_of(*disk.crash_image(1)), content_of(*storage));
}

TEST(CrashDisk, EverySubsetOfUnflushedWritesOccursAndSectorsStayWhole) {
  MemoryStorage start;
  start.write(0, filled(3 * kSector, 9));
  CrashDisk disk(start);
  const auto storage = disk.open();
  storage->write(0, filled(2 * kSector, 1));
  storage->write(kSector, filled(2 * kSector, 2));
  std::set<std::array<int, 3>> seen;
  for (const Bytes& bytes : outcomes(disk, 10 * kSeeds)) {
    ASSERT_EQ(bytes.size(), 3 * kSector);
    std::array<int, 3> sectors{};
    for (std::size_t i = 0; i < 3; ++i) {
      const auto first = bytes.begin() + static_cast<std::ptrdiff_t>(i * kSector);
      sectors[i] = std::to_integer<int>(*first);
      EXPECT_EQ(std::count(first, first + kSector, *first), static_cast<long>(kSector));
    }
    seen.insert(sectors);
  }
  // Two versions of the first sector, three of the second, two of the third.
  EXPECT_EQ(seen.size(), 12U);
}

TEST(CrashDisk, ReorderingShowsAsALaterWriteWithoutAnEarlierOne) {
  CrashDisk disk;
  const auto storage = disk.open();
  storage->resize(8192, Preallocation::off);
  storage->flush();
  storage->write(0, filled(kSector, 1));
  storage->write(4096, filled(kSector, 2));
  Bytes later_only(8192);
  std::fill_n(later_only.begin() + 4096, kSector, std::byte{2});
  EXPECT_TRUE(outcomes(disk).contains(later_only));
}

TEST(CrashDisk, GrowthMayBeLostWithoutOrWithItsData) {
  CrashDisk disk;
  disk.open()->write(0, filled(3 * kSector, 1));
  const std::set<Bytes> all = outcomes(disk);
  EXPECT_TRUE(all.contains(Bytes()));
  EXPECT_TRUE(all.contains(Bytes(3 * kSector)));  // grown, but without data
  EXPECT_TRUE(all.contains(filled(kSector, 1)));  // data, but not all of the growth
  EXPECT_TRUE(all.contains(filled(3 * kSector, 1)));
}

TEST(CrashDisk, ZeroesDiscardsAndResizesAreAtRiskToo) {
  MemoryStorage start;
  start.write(0, filled(4 * kSector, 1));
  CrashDisk disk(start);
  const auto storage = disk.open();
  storage->write_zeroes(0, kSector, {});
  storage->discard(kSector, kSector);
  storage->resize(3 * kSector, Preallocation::off);
  EXPECT_EQ(disk.unflushed(), 3U);
  EXPECT_EQ(outcomes(disk).size(), 8U);
}

TEST(CrashDisk, TheSameSeedGivesTheSameImage) {
  CrashDisk disk;
  const auto storage = disk.open();
  for (int i = 0; i < 9; ++i) storage->write(static_cast<std::uint64_t>(i) * 900, filled(2000, i));
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    EXPECT_EQ(content_of(*disk.crash_image(seed)), content_of(*disk.crash_image(seed)));
  }
}

TEST(CrashDisk, ChosenFatesAreMet) {
  CrashDisk disk;
  const auto storage = disk.open();
  storage->write(0, filled(kSector, 1));
  storage->write(kSector, filled(kSector, 2));
  const std::array fates{Fate::lost, Fate::kept};
  Bytes expected(2 * kSector);
  std::fill_n(expected.begin() + kSector, kSector, std::byte{2});
  EXPECT_EQ(content_of(*disk.crash_image(fates, 0)), expected);
  EXPECT_EQ(disk.crash_image(std::span<const Fate>(), 0)->size(), 0U);
}

TEST(Power, FailsAfterTheChosenChangeAndForGood) {
  CrashDisk disk;
  disk.power().fail_after(2);
  const auto storage = disk.open();
  storage->write(0, filled(10, 1));
  storage->flush();
  storage->write(10, filled(10, 2));
  EXPECT_FALSE(disk.power().is_on());
  EXPECT_TRUE(is_off(*storage));
  Bytes byte(1);
  EXPECT_THROW(storage->write(20, byte), Error);
  EXPECT_THROW(storage->read(0, byte), Error);
  EXPECT_THROW(storage->resize(0, Preallocation::off), Error);
  EXPECT_EQ(disk.power().changes(), 2U);
  EXPECT_EQ(disk.unflushed(), 1U);
  EXPECT_EQ(content_of(*disk.crash_image(0)), filled(10, 1));
}

TEST(Power, MayFailBeforeTheFirstChange) {
  CrashDisk disk;
  disk.power().fail_after(0);
  EXPECT_THROW(disk.open()->write(0, filled(1, 1)), Error);
  EXPECT_EQ(disk.unflushed(), 0U);
}

TEST(Power, OneSupplyEndsAllItsDisks) {
  const auto power = std::make_shared<Power>();
  power->fail_after(2);
  CrashDisk a(power);
  CrashDisk b(power);
  a.open()->write(0, filled(1, 1));
  b.open()->write(0, filled(1, 1));
  EXPECT_TRUE(is_off(*a.open()));
  EXPECT_TRUE(is_off(*b.open()));
}

}  // namespace
}  // namespace qcowkit::test
