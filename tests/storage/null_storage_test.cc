// The drivers "null-co" and "null-aio".
#include "storage/null_storage.h"

#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <vector>

#include "tests/support/errors.h"

namespace qcowkit {
namespace {

using test::error_of;
using Bytes = std::vector<std::byte>;

TEST(NullStorage, HasTheReferencesDefaultSizeAndNoSpace) {
  const auto storage = make_null_storage({});
  EXPECT_EQ(storage->size(), std::uint64_t{1} << 30);
  EXPECT_EQ(storage->allocated_bytes(), 0U);
  EXPECT_EQ(storage->name(), "null-co://");
}

TEST(NullStorage, ReadLeavesTheBufferAsItIsButForWhatLiesPastTheEnd) {
  const auto storage = make_null_storage({.size_bytes = 1000});
  Bytes bytes(100, std::byte{0xab});
  storage->read(950, bytes);
  EXPECT_EQ(Bytes(bytes.begin(), bytes.begin() + 50), Bytes(50, std::byte{0xab}));
  EXPECT_EQ(Bytes(bytes.begin() + 50, bytes.end()), Bytes(50, std::byte{0}));
  EXPECT_FALSE(storage->extent_at(0, 2000).is_hole);
  EXPECT_EQ(storage->extent_at(0, 2000).length_bytes, 1000U);
}

TEST(NullStorage, ReadZeroesGivesZeroesWhateverWasWritten) {
  const auto storage = make_null_storage({.size_bytes = 1000, .read_zeroes = true});
  storage->write(0, Bytes(100, std::byte{1}));
  storage->flush();
  Bytes bytes(100, std::byte{0xab});
  storage->read(0, bytes);
  EXPECT_EQ(bytes, Bytes(100, std::byte{0}));
  EXPECT_TRUE(storage->extent_at(0, 1000).is_hole);
}

TEST(NullStorage, WriteAndZeroesPastTheEndFail) {
  const auto storage = make_null_storage({.size_bytes = 1000});
  storage->write(900, Bytes(100));
  EXPECT_EQ(error_of([&] { storage->write(901, Bytes(100)); }).code(),
            std::errc::no_space_on_device);
  EXPECT_EQ(error_of([&] { storage->write_zeroes(1000, 1, {}); }).code(),
            std::errc::no_space_on_device);
}

TEST(NullStorage, HasNoFastWayToZeroes) {
  const auto storage = make_null_storage({});
  EXPECT_FALSE(storage->write_zeroes(0, 512, {.no_fallback = true}));
  EXPECT_TRUE(storage->write_zeroes(0, 512, {}));
}

TEST(NullStorage, ResizeIsRefused) {
  const auto storage = make_null_storage({});
  EXPECT_EQ(error_of([&] { storage->resize(1, Preallocation::off); }).message(),
            "Image format driver does not support resize");
}

TEST(NullStorage, EveryRequestTakesItsTime) {
  const auto storage = make_null_storage({.latency_nanoseconds = 3'000'000});
  Bytes bytes(10);
  const auto start = std::chrono::steady_clock::now();
  storage->read(0, bytes);
  storage->write(0, bytes);
  storage->flush();
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(9));
}

TEST(NullStorage, NegativeLatencyAndASizeOfNoFileAreRefused) {
  EXPECT_EQ(error_of([] { make_null_storage({.latency_nanoseconds = -1}); }).message(),
            "latency-ns is invalid");
  constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(make_null_storage({.size_bytes = kMax - 511})->size(), kMax - 511);
  EXPECT_EQ(error_of([] { make_null_storage({.size_bytes = kMax}); }).message(),
            "Could not refresh total sector count: File too large");
}

}  // namespace
}  // namespace qcowkit
