// What `Storage` promises, asked of every implementation.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "qcowkit/error.h"
#include "qcowkit/storage.h"
#include "tests/storage/storage_model.h"
#include "tests/storage/storage_subjects.h"

namespace qcowkit {
namespace {

using test::Bytes;
using test::is_zero;
using test::pattern;
using test::read_all;

class StorageContract : public testing::TestWithParam<test::SubjectMaker> {
 protected:
  void SetUp() override {
    try {
      subject_ = GetParam().make();
    } catch (const Error& error) {
      if (error.code() != std::errc::invalid_argument) throw;
      GTEST_SKIP() << error.what();
    }
  }
  Storage& storage() { return *subject_.storage; }

 private:
  test::Subject subject_;
};

INSTANTIATE_TEST_SUITE_P(All, StorageContract, testing::ValuesIn(test::subject_makers()),
                         [](const auto& maker) { return maker.param.name; });

TEST_P(StorageContract, NewStorageIsEmpty) {
  EXPECT_EQ(storage().size(), 0U);
  EXPECT_TRUE(storage().can_grow());
  EXPECT_FALSE(storage().is_read_only());
  EXPECT_TRUE(is_zero(read_all(storage(), 0, 5000)));
  EXPECT_TRUE(storage().extent_at(0, 1).is_hole);
}

TEST_P(StorageContract, WrittenBytesAreRead) {
  const Bytes bytes = pattern(100'000, 1);
  storage().write(4096, bytes);
  EXPECT_EQ(storage().size(), 104'096U);
  EXPECT_EQ(read_all(storage(), 4096, bytes.size()), bytes);
  EXPECT_TRUE(is_zero(read_all(storage(), 0, 4096)));
}

TEST_P(StorageContract, UnalignedWriteGrowsByExactlyItsLength) {
  storage().write(1000, pattern(7, 1));
  EXPECT_EQ(storage().size(), 1007U);
  storage().write(1005, pattern(1, 2));
  EXPECT_EQ(storage().size(), 1007U);
  storage().write(100'001, pattern(70'000, 3));
  EXPECT_EQ(storage().size(), 170'001U);
  EXPECT_TRUE(is_zero(read_all(storage(), 1007, 100'001 - 1007)));
  EXPECT_EQ(read_all(storage(), 100'001, 70'000), pattern(70'000, 3));
}

TEST_P(StorageContract, ReadAcrossTheEndGivesZeroesThere) {
  storage().write(0, pattern(700, 1));
  Bytes bytes = read_all(storage(), 100, 20'000);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.begin() + 600, pattern(700, 1).begin() + 100));
  EXPECT_TRUE(is_zero(Bytes(bytes.begin() + 600, bytes.end())));
  EXPECT_TRUE(is_zero(read_all(storage(), 1 << 20, 513)));
  EXPECT_TRUE(is_zero(read_all(storage(), std::uint64_t{1} << 63, 10)));
  EXPECT_EQ(storage().size(), 700U);
}

TEST_P(StorageContract, EmptyRequestsDoNothing) {
  storage().readv(5, {});
  storage().writev(5, {});
  storage().write(5, {});
  storage().discard(0, 0);
  EXPECT_TRUE(storage().write_zeroes(1 << 20, 0, {}));
  const std::array<iovec, 2> empty{};
  storage().writev(5, empty);
  EXPECT_EQ(storage().size(), 0U);
}

TEST_P(StorageContract, VectoredRequestsKeepTheOrderOfTheirBuffers) {
  // More buffers than one system call takes, of all kinds of lengths.
  std::vector<Bytes> pieces;
  std::vector<iovec> from;
  Bytes whole;
  for (unsigned i = 0; i < 3000; ++i) pieces.push_back(pattern(i % 37, i));
  for (Bytes& piece : pieces) {
    from.push_back({piece.data(), piece.size()});
    whole.insert(whole.end(), piece.begin(), piece.end());
  }
  storage().writev(333, from);
  EXPECT_EQ(read_all(storage(), 333, whole.size()), whole);

  std::vector<iovec> into;
  Bytes target(whole.size() + 100, std::byte{0xee});
  for (std::size_t at = 0; at < target.size(); at += 41) {
    into.push_back({target.data() + at, std::min<std::size_t>(41, target.size() - at)});
  }
  storage().readv(333, into);
  EXPECT_TRUE(std::equal(whole.begin(), whole.end(), target.begin()));
  EXPECT_TRUE(
      is_zero(Bytes(target.begin() + static_cast<std::ptrdiff_t>(whole.size()), target.end())));
}

TEST_P(StorageContract, WriteBeyondTheGreatestOffsetFails) {
  const std::uint64_t far = (std::uint64_t{1} << 63) - 2;
  const auto code_of = [](const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& error) {
      return error.code();
    }
    return std::error_code();
  };
  EXPECT_EQ(code_of([&] { storage().write(far, pattern(10, 1)); }), std::errc::file_too_large);
  EXPECT_EQ(code_of([&] { storage().write(~std::uint64_t{0} - 3, pattern(10, 1)); }),
            std::errc::file_too_large);
  EXPECT_EQ(code_of([&] { storage().write_zeroes(far, 10, {}); }), std::errc::file_too_large);
  EXPECT_EQ(code_of([&] { storage().resize(far + 10, Preallocation::off); }),
            std::errc::file_too_large);
  EXPECT_EQ(storage().size(), 0U);
}

TEST_P(StorageContract, WriteZeroesClearsExactlyItsRange) {
  for (const bool may_unmap : {false, true}) {
    for (const std::uint64_t length : {1U, 511U, 4096U, 70'000U}) {
      storage().write(0, pattern(200'000, 1));
      EXPECT_TRUE(storage().write_zeroes(5001, length, {.may_unmap = may_unmap}));
      Bytes expected = pattern(200'000, 1);
      std::fill_n(expected.begin() + 5001, length, std::byte{0});
      EXPECT_EQ(read_all(storage(), 0, 200'000), expected) << length << may_unmap;
      EXPECT_EQ(storage().size(), 200'000U);
    }
  }
}

TEST_P(StorageContract, WriteZeroesPastTheEndGrows) {
  storage().write(0, pattern(1000, 1));
  EXPECT_TRUE(storage().write_zeroes(900, 50'000, {.may_unmap = true}));
  EXPECT_EQ(storage().size(), 50'900U);
  EXPECT_TRUE(storage().write_zeroes(90'000, 77, {.may_unmap = false}));
  EXPECT_EQ(storage().size(), 90'077U);
  EXPECT_TRUE(storage().write_zeroes(200'000, 123'457, {.may_unmap = false}));
  EXPECT_EQ(storage().size(), 323'457U);
  EXPECT_TRUE(is_zero(read_all(storage(), 900, 400'000)));
}

TEST_P(StorageContract, WriteZeroesWithoutFallbackDoesAllOrNothing) {
  storage().write(0, pattern(50'000, 1));
  for (const bool may_unmap : {false, true}) {
    const bool done =
        storage().write_zeroes(8192, 16'384, {.may_unmap = may_unmap, .no_fallback = true});
    EXPECT_EQ(is_zero(read_all(storage(), 8192, 16'384)), done);
    storage().write(0, pattern(50'000, 1));
  }
}

TEST_P(StorageContract, DiscardKeepsTheSizeAndWhatIsOutside) {
  storage().write(0, pattern(50'000, 1));
  storage().discard(10'000, 20'000);
  storage().discard(49'000, 1 << 20);
  storage().discard(1 << 20, 1 << 20);
  storage().discard(49'999, ~std::uint64_t{0});
  EXPECT_EQ(storage().size(), 50'000U);
  const Bytes expected = pattern(50'000, 1);
  EXPECT_EQ(read_all(storage(), 0, 10'000), Bytes(expected.begin(), expected.begin() + 10'000));
  EXPECT_EQ(read_all(storage(), 30'000, 19'000),
            Bytes(expected.begin() + 30'000, expected.begin() + 49'000));
}

TEST_P(StorageContract, ShrunkAndGrownAgainIsZeroThere) {
  storage().write(0, pattern(20'000, 1));
  storage().resize(1234, Preallocation::off);
  EXPECT_EQ(storage().size(), 1234U);
  storage().resize(20'000, Preallocation::off);
  EXPECT_EQ(storage().size(), 20'000U);
  EXPECT_TRUE(is_zero(read_all(storage(), 1234, 20'000)));
  EXPECT_EQ(read_all(storage(), 0, 1234), pattern(1234, 1));
}

TEST_P(StorageContract, EveryPreallocationGivesTheSizeAndZeroes) {
  std::uint64_t size = 1001;
  for (const auto mode :
       {Preallocation::off, Preallocation::metadata, Preallocation::falloc, Preallocation::full}) {
    storage().write(size - 10, pattern(10, 5));
    storage().resize(size + 300'003, mode);
    EXPECT_EQ(storage().size(), size + 300'003);
    EXPECT_EQ(read_all(storage(), size - 10, 10), pattern(10, 5));
    EXPECT_TRUE(is_zero(read_all(storage(), size, 300'003)));
    size += 300'003;
  }
  storage().resize(10, Preallocation::full);
  EXPECT_EQ(storage().size(), 10U);
}

TEST_P(StorageContract, ExtentsCoverTheRangeAndHolesAreZero) {
  storage().resize(1 << 20, Preallocation::off);
  storage().write(300'000, pattern(100'000, 1));
  storage().write(800'000, pattern(1, 1));
  std::uint64_t data_bytes = 0;
  for (std::uint64_t offset = 0; offset < 2 << 20;) {
    const StorageExtent extent = storage().extent_at(offset, (2 << 20) - offset);
    ASSERT_GE(extent.length_bytes, 1U);
    ASSERT_LE(extent.length_bytes, (2U << 20) - offset);
    if (extent.is_hole) {
      EXPECT_TRUE(is_zero(read_all(storage(), offset, extent.length_bytes)));
    } else {
      data_bytes += extent.length_bytes;
    }
    offset += extent.length_bytes;
  }
  EXPECT_GE(data_bytes, 100'001U);
}

TEST_P(StorageContract, ExtentNeverCallsAHoleWhatWasWrittenSince) {
  storage().resize(1 << 20, Preallocation::off);
  for (std::uint64_t offset = 1 << 16; offset < 1 << 20; offset += 1 << 16) {
    storage().extent_at(0, 1 << 20);
    storage().extent_at(offset, 1 << 20);
    storage().write(offset + 100, pattern(10, 1));
    EXPECT_FALSE(storage().extent_at(offset + 100, 1).is_hole) << offset;
  }
  EXPECT_TRUE(storage().extent_at(2 << 20, 10).is_hole);
  storage().write((2 << 20) + 5, pattern(10, 1));
  EXPECT_FALSE(storage().extent_at((2 << 20) + 5, 10).is_hole);
}

TEST_P(StorageContract, ExtentTakesTheGreatestLength) {
  storage().write(0, pattern(10, 1));
  EXPECT_GE(storage().extent_at(0, ~std::uint64_t{0}).length_bytes, 10U);
  EXPECT_TRUE(storage().extent_at(1 << 20, ~std::uint64_t{0}).is_hole);
}

TEST_P(StorageContract, FlushAndCloseMayBeRepeated) {
  storage().write(0, pattern(100, 1));
  storage().flush();
  storage().flush();
  storage().close();
  storage().close();
}

TEST_P(StorageContract, RandomOperationsAgreeWithAByteVector) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  test::StorageModel model(storage(), seed);
  for (int i = 0; i < GetParam().random_steps; ++i) {
    ASSERT_NO_FATAL_FAILURE(model.step()) << "step " << i;
  }
  model.check_all();
}

TEST_P(StorageContract, ConcurrentNeighboursInOneSectorLoseNothing) {
  // Each thread writes every fourth record; records share sectors with those of other threads.
  constexpr unsigned kThreads = 4;
  constexpr std::size_t kRecordBytes = 100;
  constexpr std::size_t kRecords = 160;
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < kThreads; ++id) {
    threads.emplace_back([this, id] {
      for (std::size_t i = id; i < kRecords; i += kThreads) {
        storage().write(i * kRecordBytes, pattern(kRecordBytes, static_cast<unsigned>(i)));
        EXPECT_GE(storage().size(), (i + 1) * kRecordBytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(storage().size(), kRecords * kRecordBytes);
  for (std::size_t i = 0; i < kRecords; ++i) {
    EXPECT_EQ(read_all(storage(), i * kRecordBytes, kRecordBytes),
              pattern(kRecordBytes, static_cast<unsigned>(i)))
        << i;
  }
}

TEST_P(StorageContract, ConcurrentChangesOfAllKindsStayInTheirRanges) {
  // Lanes of an odd length next to each other; one thread each.
  constexpr unsigned kThreads = 4;
  constexpr std::uint64_t kLane = 10'007;
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < kThreads; ++id) {
    threads.emplace_back([this, id] {
      const std::uint64_t start = id * kLane;
      for (unsigned round = 0; round < 12; ++round) {
        storage().write(start, pattern(kLane, round));
        storage().write_zeroes(start + 100, 5000, {.may_unmap = round % 2 == 0});
        storage().flush();
        storage().extent_at(start, kLane);
        Bytes expected = pattern(kLane, round);
        std::fill_n(expected.begin() + 100, 5000, std::byte{0});
        EXPECT_EQ(read_all(storage(), start, kLane), expected);
        storage().discard(start + 7000, 3000);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(storage().size(), kThreads * kLane);
}

}  // namespace
}  // namespace qcowkit
