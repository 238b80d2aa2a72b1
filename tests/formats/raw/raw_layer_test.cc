// Raw images.
#include "formats/raw/raw_layer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "storage/forwarding_storage.h"
#include "storage/memory_storage.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"

namespace qcowkit {
namespace {

constexpr std::uint64_t kPage = 4096;

/// A layer over `size` bytes of which the first page is written.
raw::RawLayer make_layer(std::uint64_t size, bool read_only = false) {
  auto storage = std::make_unique<MemoryStorage>("disk.raw");
  storage->write(0, test::make_content(1, kPage));
  storage->resize(size, Preallocation::off);
  return {std::move(storage), read_only};
}

TEST(RawLayer, TheSizeIsRoundedUpToWholeSectors) {
  EXPECT_EQ(make_layer(0).virtual_size(), 0u);
  EXPECT_EQ(make_layer(1).virtual_size(), 512u);
  EXPECT_EQ(make_layer(512).virtual_size(), 512u);
  EXPECT_EQ(make_layer(10000).virtual_size(), 10240u);
}

TEST(RawLayer, BehindTheFilesEndTheLastSectorIsZero) {
  raw::RawLayer layer = make_layer(1000);
  std::vector<std::byte> bytes(512, std::byte{7});
  layer.read({512}, bytes);
  EXPECT_EQ(bytes[487], std::byte{1});
  EXPECT_EQ(bytes[488], std::byte{0});
  EXPECT_EQ(bytes[511], std::byte{0});
}

TEST(RawLayer, AWriteInTheLastSectorGrowsTheFile) {
  raw::RawLayer layer = make_layer(1000);
  layer.write({1020}, test::make_content(1, 4));
  EXPECT_EQ(layer.storage().size(), 1024u);
  EXPECT_EQ(layer.virtual_size(), 1024u);
}

TEST(RawLayer, DataAndHolesAreMapped) {
  raw::RawLayer layer = make_layer(4 * kPage);
  const LayerExtent data = layer.map({100}, 4 * kPage - 100);
  EXPECT_EQ(data.kind, ExtentKind::data);
  EXPECT_EQ(data.length_bytes, kPage - 100);
  EXPECT_EQ(data.host_offset, HostOffset{100});
  EXPECT_EQ(data.storage, &layer.storage());
  const LayerExtent hole = layer.map({kPage}, 3 * kPage);
  EXPECT_EQ(hole.kind, ExtentKind::zero);
  EXPECT_EQ(hole.length_bytes, 3 * kPage);
  EXPECT_TRUE(layer.is_known_zero({kPage}, 3 * kPage));
  EXPECT_FALSE(layer.is_known_zero({0}, 2 * kPage));
}

/// Counts what it is asked.
class CountingStorage final : public ForwardingStorage {
 public:
  using ForwardingStorage::ForwardingStorage;

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override {
    ++reads;
    ForwardingStorage::readv(host_offset, into);
  }
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override {
    ++questions;
    return ForwardingStorage::extent_at(host_offset, length_bytes);
  }

  int reads = 0;
  mutable int questions = 0;
};

TEST(RawLayer, AReadOfDataAndHolesIsOneReadAndNothingElse) {
  auto memory = std::make_unique<MemoryStorage>("disk.raw");
  memory->write(kPage, test::make_content(1, kPage));
  memory->resize(4 * kPage, Preallocation::off);
  auto counting = std::make_unique<CountingStorage>(std::move(memory));
  const CountingStorage& storage = *counting;
  raw::RawLayer layer(std::move(counting), /*read_only=*/false);
  std::vector<std::byte> bytes(4 * kPage, std::byte{7});
  layer.read({0}, bytes);
  EXPECT_EQ(storage.reads, 1);
  EXPECT_EQ(storage.questions, 0);
  std::vector<std::byte> expected(4 * kPage);
  std::ranges::copy(test::make_content(1, kPage), expected.begin() + kPage);
  EXPECT_EQ(bytes, expected);
}

TEST(RawLayer, WhatIsDiscardedReadsAsZeroesAndGivesItsSpaceBack) {
  raw::RawLayer layer = make_layer(2 * kPage);
  layer.discard({0}, kPage);
  std::vector<std::byte> bytes(kPage, std::byte{7});
  layer.read({0}, bytes);
  EXPECT_EQ(bytes, std::vector<std::byte>(kPage));
  EXPECT_EQ(layer.storage().allocated_bytes(), 0u);
}

TEST(RawLayer, ZeroesKeepTheirSpaceUnlessItMayGo) {
  raw::RawLayer layer = make_layer(2 * kPage);
  layer.write_zeroes({0}, kPage, false);
  EXPECT_EQ(layer.storage().allocated_bytes(), kPage);
  layer.write_zeroes({0}, kPage, true);
  EXPECT_EQ(layer.storage().allocated_bytes(), 0u);
}

TEST(RawLayer, InPlaceIsWhereItIs) {
  raw::RawLayer layer = make_layer(4 * kPage);
  int calls = 0;
  layer.write_in_place({kPage}, 2 * kPage,
                       [&](Storage& storage, std::uint64_t host_offset, std::uint64_t guest_offset,
                           std::uint64_t length_bytes) {
                         ++calls;
                         EXPECT_EQ(&storage, &layer.storage());
                         EXPECT_EQ(host_offset, kPage);
                         EXPECT_EQ(guest_offset, kPage);
                         EXPECT_EQ(length_bytes, 2 * kPage);
                       });
  EXPECT_EQ(calls, 1);
}

TEST(RawLayer, ReadOnlyIsNotWritten) {
  raw::RawLayer layer = make_layer(kPage, true);
  EXPECT_EQ(test::error_of([&] { layer.write({0}, test::make_content(1, 4)); }).code(),
            Errc::read_only);
  EXPECT_EQ(test::error_of([&] { layer.write_zeroes({0}, 4, true); }).code(), Errc::read_only);
  EXPECT_EQ(test::error_of([&] { layer.discard({0}, 4); }).code(), Errc::read_only);
  EXPECT_EQ(test::error_of([&] { layer.write_in_place({0}, 4, {}); }).code(), Errc::read_only);
}

TEST(RawLayer, HasNothingToCheckAndCannotBeCompressed) {
  raw::RawLayer layer = make_layer(kPage);
  EXPECT_EQ(test::error_of([&] { layer.check({}); }).code(), Errc::unsupported);
  EXPECT_EQ(test::error_of([&] { layer.compress({}, 0); }).code(), Errc::unsupported);
  EXPECT_EQ(test::error_of([&] { layer.write_compressed({0}, {}, {}); }).code(), Errc::unsupported);
}

TEST(RawLayer, AGrownDiskReadsAsZeroesBehindItsOldEnd) {
  raw::RawLayer layer = make_layer(kPage);
  layer.resize(3 * kPage + 1, {});
  EXPECT_EQ(layer.storage().size(), 3 * kPage + 1);
  EXPECT_EQ(layer.virtual_size(), 3 * kPage + 512);
  EXPECT_FALSE(layer.is_known_zero({0}, kPage));
  EXPECT_TRUE(layer.is_known_zero({kPage}, 2 * kPage));
}

TEST(RawLayer, ADiskIsMadeSmallerOnlyWhereThatIsAllowed) {
  raw::RawLayer layer = make_layer(2 * kPage);
  EXPECT_EQ(test::error_of([&] { layer.resize(kPage, {}); }).code(), Errc::invalid_argument);
  EXPECT_EQ(layer.virtual_size(), 2 * kPage);
  layer.resize(kPage, {.may_shrink = true});
  EXPECT_EQ(layer.virtual_size(), kPage);
  EXPECT_EQ(layer.storage().size(), kPage);
}

TEST(RawLayer, ThereIsNoMetadataThatCouldBePreallocated) {
  raw::RawLayer layer = make_layer(kPage);
  EXPECT_EQ(test::error_of([&] {
              layer.resize(2 * kPage, {.preallocation = Preallocation::metadata});
            }).code(),
            Errc::invalid_argument);
}

TEST(RawLayer, AReadOnlyImageIsNotResized) {
  raw::RawLayer layer = make_layer(kPage, /*read_only=*/true);
  EXPECT_EQ(test::error_of([&] { layer.resize(2 * kPage, {}); }).code(), Errc::read_only);
}

}  // namespace
}  // namespace qcowkit
