// The bits of a bitmap in memory, against a plain array, and from many threads at once.
#include "formats/qcow2/bitmap_bits.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/seeds.h"

namespace qcowkit::qcow2 {
namespace {

using Content = BitmapBits::Content;

constexpr std::uint32_t kGranularityBits = 9;
constexpr std::uint64_t kGranule = 1 << kGranularityBits;
constexpr std::uint64_t kChunk = 32768;         // granules that share a piece of memory
constexpr std::uint64_t kGroup = 512 * kChunk;  // granules that share a table of pieces

std::vector<bool> all_bits(const BitmapBits& bits, std::uint64_t disk_bytes) {
  std::vector<bool> all;
  for (std::uint64_t at = 0; at < disk_bytes;) {
    const BitmapExtent extent = bits.find({at}, disk_bytes - at);
    EXPECT_GE(extent.length_bytes, 1u);
    const std::uint64_t end = at + extent.length_bytes;
    EXPECT_TRUE(end % kGranule == 0 || end == disk_bytes);
    all.insert(all.end(), divide_round_up(extent.length_bytes, kGranule), extent.is_dirty);
    at = end;
  }
  return all;
}

TEST(BitmapBits, NewBitsAreClear) {
  const BitmapBits bits(10 * kGranule, kGranularityBits);
  const BitmapExtent extent = bits.find({0}, 10 * kGranule);
  EXPECT_FALSE(extent.is_dirty);
  EXPECT_EQ(extent.length_bytes, 10 * kGranule);
  EXPECT_FALSE(bits.has_changed());
  EXPECT_EQ(bits.content_of(0, 8), Content::zeroes);
}

TEST(BitmapBits, RangeMarksAllGranulesThatItTouches) {
  BitmapBits bits(10 * kGranule, kGranularityBits);
  bits.mark({2 * kGranule - 1}, 2);
  EXPECT_TRUE(bits.has_changed());
  const std::vector<bool> expected{false, true, true};
  for (std::uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(bits.find({i * kGranule + 7}, 1).is_dirty, expected[i]) << i;
  }
  EXPECT_FALSE(bits.find({3 * kGranule}, 1).is_dirty);
  bits.mark({5 * kGranule}, 0);
  EXPECT_FALSE(bits.find({5 * kGranule}, 1).is_dirty);
}

TEST(BitmapBits, AnswerEndsWithTheQuestionOrTheRun) {
  BitmapBits bits(10 * kGranule, kGranularityBits);
  bits.mark({4 * kGranule}, 2 * kGranule);
  EXPECT_EQ(bits.find({100}, 10 * kGranule - 100).length_bytes, 4 * kGranule - 100);
  EXPECT_EQ(bits.find({4 * kGranule + 3}, 5).length_bytes, 5u);
  EXPECT_EQ(bits.find({4 * kGranule + 3}, 5 * kGranule).length_bytes, 2 * kGranule - 3);
}

TEST(BitmapBits, MarkingBehindTheEndIsIgnored) {
  BitmapBits bits(100 * kGranule, kGranularityBits);
  bits.mark({200 * kGranule}, 10 * kGranule);
  EXPECT_FALSE(bits.has_changed());
  bits.mark({99 * kGranule}, 1000 * kGranule);
  EXPECT_TRUE(bits.find({99 * kGranule}, kGranule).is_dirty);
  std::vector<std::byte> bytes(16);
  bits.copy_bytes(0, bytes);
  EXPECT_EQ(bytes[12], std::byte{0x08});
  EXPECT_EQ(bytes[13], std::byte{0});
}

TEST(BitmapBits, ByteHoldsItsFirstBitLowest) {
  BitmapBits bits(64 * kGranule, kGranularityBits);
  bits.mark({9 * kGranule}, 1);
  std::vector<std::byte> bytes(8);
  bits.copy_bytes(0, bytes);
  EXPECT_EQ(bytes[0], std::byte{0});
  EXPECT_EQ(bytes[1], std::byte{0x02});
}

TEST(BitmapBits, BytesReadBackAreTheBytesAdded) {
  constexpr std::uint64_t kDisk = 3 * kChunk * kGranule;
  std::mt19937_64 random(1);
  std::vector<std::byte> bytes(3 * kChunk / 8);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  BitmapBits bits(kDisk, kGranularityBits);
  for (std::uint64_t at = 0; at < bytes.size(); at += 512) {
    bits.add_bytes(at, std::span(bytes).subspan(at, 512));
  }
  std::vector<std::byte> copy(bytes.size());
  bits.copy_bytes(0, copy);
  EXPECT_TRUE(copy == bytes);
}

TEST(BitmapBits, BitsBehindTheEndAreNotTakenFromBytes) {
  BitmapBits bits(10 * kGranule, kGranularityBits);
  bits.add_bytes(0, std::vector<std::byte>(512, std::byte{0xff}));
  std::vector<std::byte> copy(16);
  bits.copy_bytes(0, copy);
  EXPECT_EQ(copy[1], std::byte{0x03});
  EXPECT_EQ(copy[2], std::byte{0});
  bits.resize(100 * kGranule);
  EXPECT_FALSE(bits.find({10 * kGranule}, 1).is_dirty);
}

TEST(BitmapBits, ContentTellsZeroesAndOnesFromMixes) {
  BitmapBits bits((2 * kChunk + 100) * kGranule, kGranularityBits);
  bits.mark({kChunk * kGranule}, (kChunk + 100) * kGranule);
  EXPECT_EQ(bits.content_of(0, kChunk / 8), Content::zeroes);
  EXPECT_EQ(bits.content_of(kChunk / 8, kChunk / 8), Content::ones);
  EXPECT_EQ(bits.content_of(kChunk / 16, kChunk / 8), Content::mixed);
  // The last bytes are used in part, and the rest of them must be zero.
  EXPECT_EQ(bits.content_of(2 * kChunk / 8, 512), Content::mixed);
}

TEST(BitmapBits, WholeGroupsAreSetWithoutMemoryOfTheirOwnAndBehaveAlike) {
  constexpr std::uint64_t kDisk = (2 * kGroup + 5) * kGranule;
  BitmapBits bits(kDisk, kGranularityBits);
  bits.mark({0}, kDisk);
  EXPECT_EQ(bits.find({0}, kDisk).length_bytes, kDisk);
  EXPECT_TRUE(bits.find({0}, kDisk).is_dirty);
  bits.mark({kGroup * kGranule}, 3 * kGranule);
  EXPECT_EQ(bits.content_of(0, kGroup / 8), Content::ones);
  // Cut in the middle of a group, a chunk and a word, then grown again.
  constexpr std::uint64_t kCut = (kGroup + 3 * kChunk + 77) * kGranule;
  bits.resize(kCut);
  bits.resize(kDisk);
  EXPECT_EQ(bits.find({0}, kDisk).length_bytes, kCut);
  EXPECT_FALSE(bits.find({kCut}, kDisk - kCut).is_dirty);
  EXPECT_EQ(bits.find({kCut}, kDisk - kCut).length_bytes, kDisk - kCut);
  // Other bitmaps do not share what was cut.
  BitmapBits other(kDisk, kGranularityBits);
  other.mark({0}, kDisk);
  EXPECT_EQ(other.find({0}, kDisk).length_bytes, kDisk);
}

TEST(BitmapBits, HugeDiskTakesMemoryOnlyWhereItIsMarked) {
  constexpr std::uint64_t kDisk = std::uint64_t{1} << 41;  // half a gigabyte of bits
  BitmapBits bits(kDisk, kGranularityBits);
  bits.mark({kDisk - 1}, 1);
  bits.mark({kDisk / 2}, kDisk / 4);
  EXPECT_EQ(bits.find({0}, kDisk).length_bytes, kDisk / 2);
  EXPECT_EQ(bits.find({kDisk / 2}, kDisk / 2).length_bytes, kDisk / 4);
  EXPECT_EQ(bits.find({kDisk / 4 * 3}, kDisk).length_bytes, kDisk / 4 - kGranule);
}

TEST(BitmapBits, EmptyDiskHasNoBits) {
  BitmapBits bits(0, kGranularityBits);
  bits.mark({0}, 100);
  EXPECT_EQ(bits.data_bytes(), 0u);
  EXPECT_FALSE(bits.has_changed());
}

TEST(BitmapBits, RandomChangesAgreeWithAnArray) {
  test::for_each_seed(
      20,
      [](std::uint64_t seed) {
        SCOPED_TRACE("QCOWKIT_SEED=" + std::to_string(seed));
        std::mt19937_64 random(seed);
        const auto draw_size = [&] { return 1 + random() % (4 * kChunk * kGranule); };
        std::uint64_t disk = draw_size();
        BitmapBits bits(disk, kGranularityBits);
        std::vector<bool> model(divide_round_up(disk, kGranule));
        for (int i = 0; i < 40; ++i) {
          if (random() % 8 == 0) {
            disk = draw_size();
            bits.resize(disk);
            model.resize(divide_round_up(disk, kGranule));
          }
          const std::uint64_t begin = random() % disk;
          const std::uint64_t length =
              random() % 4 == 0 ? random() % (disk - begin) : random() % (3 * kGranule);
          bits.mark({begin}, length);
          const std::uint64_t end = std::min(begin + length, disk);
          for (std::uint64_t g = begin / kGranule; g * kGranule < end && length != 0; ++g) {
            model[g] = true;
          }
          ASSERT_TRUE(all_bits(bits, disk) == model) << "step " << i;
        }
      },
      [] { return testing::Test::HasFailure(); });
}

TEST(BitmapBits, MarksOfManyThreadsAreAllThere) {
  constexpr std::uint64_t kBits = kGroup + 2 * kChunk;
  constexpr std::uint64_t kDisk = kBits * kGranule;
  constexpr std::uint64_t kThreads = 4;
  BitmapBits bits(kDisk, kGranularityBits);
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      // Neighbours in the same words, first marks in the same chunks, and now and then a large one.
      for (std::uint64_t i = 0; i < 4000; ++i) {
        bits.mark({(i * 37 * kThreads + t) % kBits * kGranule}, 1);
        bits.find({i * kChunk % kBits * kGranule}, kDisk);
        if (i % 1000 == 500) bits.mark({(kGroup + kChunk) * kGranule}, kChunk * kGranule);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<std::uint64_t> missing;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    for (std::uint64_t i = 0; i < 4000; ++i) {
      const std::uint64_t bit = (i * 37 * kThreads + t) % kBits;
      if (!bits.find({bit * kGranule}, 1).is_dirty) missing.insert(bit);
    }
  }
  EXPECT_TRUE(missing.empty()) << missing.size() << " bits, the first " << *missing.begin();
  EXPECT_EQ(bits.content_of((kGroup + kChunk) / 8, kChunk / 8), Content::ones);
}

}  // namespace
}  // namespace qcowkit::qcow2
