// An image's guest bytes as host bytes.
#include "image/image_storage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/seeds.h"

namespace qcowkit {
namespace {

using Bytes = std::vector<std::byte>;
constexpr std::uint64_t kCluster = 4096;
constexpr std::uint64_t kSize = 64 * kCluster;

std::unique_ptr<Image> make_image(const std::string& format, std::uint64_t size = kSize) {
  auto storage = make_memory_storage();
  CreateOptions options;
  options.format = format;
  options.size_bytes = size;
  if (format == "qcow2") options.cluster_size_bytes = kCluster;
  Image::create(*storage, options);
  OpenOptions open;
  open.format = format;
  open.read_only = false;
  return Image::open(std::move(storage), open);
}

Bytes read_all(Storage& storage, std::uint64_t offset, std::size_t length) {
  Bytes bytes(length, std::byte{0xee});
  storage.read(offset, bytes);
  return bytes;
}

class ImageStorageOf : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Formats, ImageStorageOf, testing::Values("raw", "qcow", "qcow2"),
                         [](const auto& format) { return format.param; });

TEST_P(ImageStorageOf, ReadsZeroesPastTheEnd) {
  const auto storage = make_image_storage(make_image(GetParam()));
  storage->write(kSize - 10, Bytes(10, std::byte{1}));
  Bytes expected(10, std::byte{1});
  expected.resize(100);
  EXPECT_EQ(read_all(*storage, kSize - 10, 100), expected);
  EXPECT_EQ(read_all(*storage, ~std::uint64_t{0} - 100, 50), Bytes(50));
  EXPECT_TRUE(storage->extent_at(kSize, 7).is_hole);
}

TEST_P(ImageStorageOf, WritePastTheEndGrowsWhereTheFormatCan) {
  const auto storage = make_image_storage(make_image(GetParam()));
  EXPECT_EQ(storage->can_grow(), GetParam() != "qcow");
  if (!storage->can_grow()) {
    EXPECT_THROW(storage->write(kSize, Bytes(512, std::byte{1})), Error);
    return;
  }
  storage->write(kSize + 1024, Bytes(512, std::byte{1}));
  EXPECT_EQ(storage->size(), kSize + 1536);
  EXPECT_EQ(read_all(*storage, kSize, 1024), Bytes(1024));
  EXPECT_TRUE(storage->write_zeroes(kSize + 1024, 2048, {}));
  EXPECT_EQ(storage->size(), kSize + 3072);
  EXPECT_EQ(read_all(*storage, kSize + 1024, 512), Bytes(512));
}

TEST_P(ImageStorageOf, HolesAreWhatTheChainKnowsToBeZero) {
  const auto storage = make_image_storage(make_image(GetParam()));
  storage->write(32 * kCluster, Bytes(kCluster, std::byte{1}));
  const StorageExtent hole = storage->extent_at(0, kSize);
  EXPECT_TRUE(hole.is_hole);
  EXPECT_FALSE(storage->extent_at(32 * kCluster, kSize).is_hole);
}

TEST_P(ImageStorageOf, DoesWhatAnArrayDoes) {
  test::for_each_seed(
      15,
      [](std::uint64_t seed) {
        SCOPED_TRACE(testing::Message() << "QCOWKIT_SEED=" << seed);
        std::mt19937_64 random(seed);
        const auto storage = make_image_storage(make_image(GetParam()));
        Bytes model(kSize);
        for (int step = 0; step < 60; ++step) {
          const std::size_t at = random() % kSize;
          const std::size_t length = 1 + random() % std::min<std::size_t>(kSize - at, 40'000);
          const std::span<std::byte> range = std::span(model).subspan(at, length);
          switch (random() % 5) {
            case 0:
              storage->write_zeroes(at, length, {.may_unmap = random() % 2 == 0});
              std::ranges::fill(range, std::byte{0});
              break;
            case 1:
              if (storage->write_zeroes(at, length, {.no_fallback = true})) {
                std::ranges::fill(range, std::byte{0});
              }
              break;
            case 2: {
              storage->discard(at, length);
              // Each byte is what it was, or zero.
              const Bytes now = read_all(*storage, at, length);
              for (std::size_t i = 0; i < length; ++i) {
                ASSERT_TRUE(now[i] == range[i] || now[i] == std::byte{0});
              }
              std::ranges::copy(now, range.begin());
              break;
            }
            default: {
              Bytes bytes = test::make_content(random(), length);
              const std::size_t cut = random() % (length + 1);
              const iovec pieces[] = {{bytes.data(), cut}, {bytes.data() + cut, length - cut}};
              storage->writev(at, pieces);
              std::ranges::copy(bytes, range.begin());
            }
          }
          const std::size_t from = random() % kSize;
          ASSERT_TRUE(test::same_bytes(read_all(*storage, from, kSize - from),
                                       std::span(model).subspan(from)));
        }
        storage->flush();
        storage->close();
      },
      [] { return testing::Test::HasFailure(); });
}

TEST(ImageStorage, FormatInAFormatGrowsTheOuterDisk) {
  Bytes content = test::make_content(3, kSize);
  auto storage = make_image_storage(make_image("qcow2", 0));
  CreateOptions create;
  create.format = "qcow2";
  create.size_bytes = kSize;
  create.cluster_size_bytes = kCluster;
  Image::create(*storage, create);
  OpenOptions open;
  open.format = "qcow2";
  open.read_only = false;
  const auto inner = Image::open(std::move(storage), open);
  inner->write(0, content);
  Bytes found(kSize);
  inner->read(0, found);
  EXPECT_EQ(found, content);
  EXPECT_EQ(inner->check().corruptions, 0U);
  EXPECT_GE(inner->storage().size(), kSize);
  inner->close();
}

TEST(ImageStorage, ReadOnlyImageIsAReadOnlyStorage) {
  auto file = make_memory_storage();
  file->resize(4096, Preallocation::off);
  const auto storage = make_image_storage(Image::open(std::move(file), {.format = "raw"}));
  EXPECT_TRUE(storage->is_read_only());
  EXPECT_EQ(test::error_of([&] { storage->write(0, Bytes(1)); }).code(), Errc::read_only);
}

TEST(ImageStorage, ResizeIsThatOfTheDisk) {
  const auto storage = make_image_storage(make_image("qcow2"));
  storage->resize(2 * kSize, Preallocation::metadata);
  EXPECT_EQ(storage->size(), 2 * kSize);
  storage->resize(kCluster, Preallocation::off);
  EXPECT_EQ(storage->size(), kCluster);
}

}  // namespace
}  // namespace qcowkit
