// Asking an image where its bytes lie: for one extent, and for many at once.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "qcowkit/image.h"
#include "tests/support/content.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

constexpr std::uint64_t kCluster = 4096;
constexpr std::uint64_t kSize = 5 * 1024 * kCluster + 512;  // ten L2 tables

class Map : public testing::Test {
 protected:
  /// An image with all kinds of extents, over `backing_file` if that is not empty.
  std::string make(const std::string& name, std::uint64_t seed, const std::string& backing_file) {
    const std::string path = dir_.file(name);
    CreateOptions options;
    options.format = "qcow2";
    options.size_bytes = backing_file.empty() ? kSize / 2 : kSize;
    options.cluster_size_bytes = kCluster;
    options.cache = CacheMode::unsafe;
    options.backing_file = backing_file;
    if (!backing_file.empty()) options.backing_format = "qcow2";
    Image::create(path, options);
    OpenOptions open;
    open.read_only = false;
    open.cache = CacheMode::unsafe;
    const auto image = Image::open(path, open);
    std::mt19937_64 random(seed);
    for (int i = 0; i < 300; ++i) {
      const std::uint64_t at = random() % (image->virtual_size() / kCluster - 4) * kCluster;
      const auto bytes = test::make_content(4 * random() + 2, kCluster);
      switch (random() % 4) {
        case 0:
          image->write_zeroes(at, 2 * kCluster, random() % 2 == 0);
          break;
        case 1:
          image->discard(at, kCluster);
          image->write_compressed(at, image->compress(bytes), bytes);
          break;
        default:
          image->write(at, bytes);
          break;
      }
    }
    image->close();
    return path;
  }

  static void expect_same(const Extent& a, const Extent& b) {
    EXPECT_EQ(a.guest_offset, b.guest_offset);
    EXPECT_EQ(a.length_bytes, b.length_bytes);
    EXPECT_EQ(a.kind, b.kind);
    EXPECT_EQ(a.depth, b.depth);
    EXPECT_EQ(a.host_offset, b.host_offset);
    EXPECT_EQ(a.storage, b.storage);
    EXPECT_EQ(a.file, b.file);
  }
  /// All at once, `at_once` extents at a time, is what one call for each tells.
  static void expect_many_like_one(Image& image, std::size_t at_once) {
    std::vector<Extent> extents(at_once);
    const std::uint64_t size = image.virtual_size();
    for (std::uint64_t at = 100; at < size;) {
      const std::size_t count = image.map(at, size - at, extents);
      ASSERT_GE(count, 1u);
      ASSERT_LE(count, at_once);
      for (std::size_t i = 0; i < count; ++i) {
        expect_same(extents[i], image.map(at, size - at));
        at += extents[i].length_bytes;
      }
    }
  }

  const test::TempDir dir_;
};

TEST_F(Map, ManyAtOnceAreWhatOneAfterTheOtherIs) {
  const auto image = Image::open(make("disk", 1, ""));
  std::vector<Extent> all(2000);
  image->map(0, image->virtual_size(), all);  // the cache knows all tables from now on
  for (const std::size_t at_once : {1, 2, 63, 64, 65, 1000}) expect_many_like_one(*image, at_once);
}

TEST_F(Map, ManyAtOnceLookThroughTheChain) {
  const std::string base = make("base", 1, "");
  const std::string middle = make("middle", 2, base);
  const auto image = Image::open(make("top", 3, middle));
  std::vector<Extent> all(5000);
  image->map(0, image->virtual_size(), all);
  for (const std::size_t at_once : {1, 2, 65, 1000}) expect_many_like_one(*image, at_once);
}

TEST_F(Map, EndsWithTheRange) {
  const auto image = Image::open(make("disk", 1, ""));
  std::vector<Extent> extents(1000);
  const std::size_t count = image->map(3 * kCluster, 7 * kCluster + 1, extents);
  ASSERT_GE(count, 1u);
  const Extent& last = extents[count - 1];
  EXPECT_EQ(last.guest_offset + last.length_bytes, 10 * kCluster + 1);
  EXPECT_EQ(image->map(0, 0, extents), 0u);
  EXPECT_EQ(image->map(0, kCluster, {}), 0u);
  EXPECT_THROW(image->map(0, image->virtual_size() + 1, extents), Error);
}

}  // namespace
}  // namespace qcowkit
