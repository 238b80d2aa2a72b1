// The driver "raw" with "offset" and "size".
#include "storage/window_storage.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/seeds.h"

namespace qcowkit {
namespace {

using test::error_of;
using test::make_content;
using Bytes = std::vector<std::byte>;

std::unique_ptr<Storage> disk(std::size_t size_bytes, std::uint64_t content = 3) {
  auto storage = make_memory_storage();
  storage->write(0, make_content(content, size_bytes));
  return storage;
}

Bytes read_all(Storage& storage, std::uint64_t offset, std::size_t length) {
  Bytes bytes(length, std::byte{0xee});
  storage.read(offset, bytes);
  return bytes;
}

std::string refusal(std::uint64_t whole, const WindowOptions& options) {
  return error_of([&] { make_window_storage(disk(whole), options); }).message();
}

TEST(WindowStorage, ShowsTheChildsBytesFromTheOffsetOn) {
  const auto window = make_window_storage(disk(10'000), {.offset_bytes = 100, .size_bytes = 512});
  EXPECT_EQ(window->size(), 512U);
  const Bytes whole = make_content(3, 10'000);
  EXPECT_EQ(read_all(*window, 0, 512), Bytes(whole.begin() + 100, whole.begin() + 612));
}

TEST(WindowStorage, ReadPastTheEndFindsZeroesAndNotTheChildsBytes) {
  const auto window = make_window_storage(disk(10'000), {.offset_bytes = 512, .size_bytes = 512});
  const Bytes bytes = read_all(*window, 500, 600);
  EXPECT_EQ(Bytes(bytes.begin() + 12, bytes.end()), Bytes(588, std::byte{0}));
  EXPECT_EQ(read_all(*window, std::uint64_t{1} << 63, 9), Bytes(9, std::byte{0}));
  EXPECT_TRUE(window->extent_at(512, 100).is_hole);
  EXPECT_EQ(window->extent_at(0, 4096).length_bytes, 512U);
}

TEST(WindowStorage, WithASizeItCanNeitherGrowNorBeResized) {
  const auto window = make_window_storage(disk(10'240), {.offset_bytes = 512, .size_bytes = 1024});
  EXPECT_FALSE(window->can_grow());
  window->write(1000, Bytes(24));
  EXPECT_EQ(error_of([&] { window->write(1000, Bytes(25)); }).code(),
            std::errc::no_space_on_device);
  EXPECT_EQ(error_of([&] { window->write_zeroes(1024, 1, {}); }).code(),
            std::errc::no_space_on_device);
  EXPECT_EQ(error_of([&] { window->resize(512, Preallocation::off); }).message(),
            "Cannot resize fixed-size raw disks");
}

TEST(WindowStorage, WithoutASizeItGrowsAndShrinksWithTheChild) {
  auto child = disk(1000);
  Storage& whole = *child;
  const auto window = make_window_storage(std::move(child), {.offset_bytes = 600});
  EXPECT_EQ(window->size(), 400U);
  window->write(1000, Bytes(1, std::byte{7}));
  EXPECT_EQ(whole.size(), 1601U);
  window->resize(10, Preallocation::off);
  EXPECT_EQ(whole.size(), 610U);
  whole.resize(500, Preallocation::off);
  EXPECT_EQ(window->size(), 0U);
}

TEST(WindowStorage, PlacesAreThoseInTheInnermostStorage) {
  auto child = disk(10'000);
  Storage& whole = *child;
  auto outer = make_window_storage(std::move(child), {.offset_bytes = 512});
  const auto inner = make_window_storage(std::move(outer), {.offset_bytes = 1000});
  const StoragePlace place = inner->place_of(7);
  EXPECT_EQ(place.storage, &whole);
  EXPECT_EQ(place.host_offset, 1519U);
}

TEST(WindowStorage, DiscardStaysInside) {
  auto child = disk(16'384, 1);
  Storage& whole = *child;
  const auto window =
      make_window_storage(std::move(child), {.offset_bytes = 4096, .size_bytes = 4096});
  window->discard(0, std::uint64_t{1} << 40);
  EXPECT_FALSE(whole.extent_at(0, 1).is_hole);
  EXPECT_TRUE(whole.extent_at(4096, 1).is_hole);
  EXPECT_FALSE(whole.extent_at(8192, 1).is_hole);
}

TEST(WindowStorage, RefusesWhatReachesOutOfTheFile) {
  EXPECT_EQ(refusal(1 << 20, {.offset_bytes = 2 << 20}),
            "Offset (2097152) cannot be greater than size of the containing file (1048576)");
  EXPECT_EQ(refusal(1 << 20, {.offset_bytes = 512 << 10, .size_bytes = 1 << 20}),
            "The sum of offset (524288) and size (1048576) has to be smaller or equal to the  "
            "actual size of the containing file (1048576)");
  EXPECT_EQ(refusal(1 << 20, {.size_bytes = 1000}), "Specified size is not multiple of 512");
  EXPECT_EQ(refusal(1 << 20, {.offset_bytes = 1, .size_bytes = ~std::uint64_t{0}}),
            "The sum of offset (1) and size (18446744073709551615) has to be smaller or equal to "
            "the  actual size of the containing file (1048576)");
}

TEST(WindowStorage, CountsTheFilesLastSectorAsWhole) {
  EXPECT_EQ(make_window_storage(disk(1000), {.offset_bytes = 1001})->size(), 0U);
  EXPECT_EQ(make_window_storage(disk(1000), {.size_bytes = 1024})->size(), 1024U);
  EXPECT_EQ(refusal(1000, {.offset_bytes = 1025}),
            "Offset (1025) cannot be greater than size of the containing file (1024)");
}

TEST(WindowStorageProperty, DoesWhatAnArrayDoesAndLeavesTheRestAlone) {
  constexpr std::size_t kWhole = 64 << 10;
  constexpr std::size_t kOffset = 12'345;
  constexpr std::size_t kSize = 16 << 10;
  test::for_each_seed(
      20,
      [&](std::uint64_t seed) {
        SCOPED_TRACE(testing::Message() << "QCOWKIT_SEED=" << seed);
        std::mt19937_64 random(seed);
        auto child = disk(kWhole);
        Storage& whole = *child;
        Bytes model = make_content(3, kWhole);
        const auto window =
            make_window_storage(std::move(child), {.offset_bytes = kOffset, .size_bytes = kSize});
        for (int step = 0; step < 60; ++step) {
          const std::size_t at = random() % kSize;
          const std::size_t length = 1 + random() % (kSize - at);
          if (random() % 3 == 0) {
            window->write_zeroes(at, length, {.may_unmap = random() % 2 == 0});
            std::memset(model.data() + kOffset + at, 0, length);
          } else {
            const Bytes bytes = make_content(random(), length);
            window->write(at, bytes);
            std::memcpy(model.data() + kOffset + at, bytes.data(), length);
          }
        }
        EXPECT_EQ(read_all(whole, 0, kWhole), model);
        EXPECT_EQ(read_all(*window, 0, kSize),
                  Bytes(model.begin() + kOffset, model.begin() + kOffset + kSize));
      },
      [] { return testing::Test::HasFailure(); });
}

}  // namespace
}  // namespace qcowkit
