// An image over its backing file.
#include <gtest/gtest.h>

#include "base/checked.h"
#include "qcowkit/image.h"
#include "tests/support/content.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

constexpr std::uint64_t kCluster = 4096;
constexpr std::uint64_t kSize = 16 * kCluster;

class Backing : public testing::Test {
 protected:
  void make_base(std::uint64_t size, const std::string& format = "qcow2") {
    CreateOptions options;
    options.format = format;
    options.size_bytes = size;
    options.cluster_size_bytes = format == "raw" ? 0 : kCluster;
    options.cache = CacheMode::unsafe;
    Image::create(base_, options);
    const auto image = open(base_, false);
    base_content_ = test::make_content(7, image->virtual_size());
    image->write(0, base_content_);
    image->close();
  }
  std::unique_ptr<Image> make_overlay(std::uint64_t size, std::uint32_t version = 3) {
    CreateOptions options;
    options.format = "qcow2";
    options.size_bytes = size;
    options.version = version;
    options.cluster_size_bytes = kCluster;
    options.backing_file = "base.img";
    options.backing_format = Image::probe(base_);
    options.cache = CacheMode::unsafe;
    Image::create(overlay_, options);
    return open(overlay_, false);
  }
  static std::unique_ptr<Image> open(const std::string& path, bool read_only) {
    OpenOptions options;
    options.read_only = read_only;
    options.cache = CacheMode::unsafe;
    return Image::open(path, options);
  }
  static std::vector<std::byte> read_all(Image& image) {
    std::vector<std::byte> bytes(image.virtual_size());
    image.read(0, bytes);
    return bytes;
  }
  /// The backing file's content, cut off or followed by zeroes.
  std::vector<std::byte> base_content(std::uint64_t size) const {
    std::vector<std::byte> content = base_content_;
    content.resize(size);
    return content;
  }

  const test::TempDir dir_;
  const std::string base_ = dir_.file("base.img");
  const std::string overlay_ = dir_.file("overlay.qcow2");
  std::vector<std::byte> base_content_;
};

TEST_F(Backing, OfAnyFormatShowsThrough) {
  for (const std::string format : {"raw", "qcow2"}) {
    SCOPED_TRACE(format);
    make_base(kSize, format);
    const auto image = make_overlay(kSize);
    EXPECT_TRUE(read_all(*image) == base_content(kSize));
    ASSERT_NE(image->backing(), nullptr);
    EXPECT_EQ(image->backing()->format(), format);
    EXPECT_TRUE(image->backing()->is_read_only());
  }
}

TEST_F(Backing, ThatIsShorterIsFollowedByZeroes) {
  for (const std::string format : {"raw", "qcow2"}) {
    make_base(5 * kCluster + 512, format);
    EXPECT_TRUE(read_all(*make_overlay(kSize)) == base_content(kSize));
  }
}

TEST_F(Backing, ThatIsLongerIsCutOff) {
  make_base(2 * kSize);
  EXPECT_TRUE(read_all(*make_overlay(kSize)) == base_content(kSize));
}

TEST_F(Backing, IsCopiedAroundAWrite) {
  make_base(kSize);
  const auto image = make_overlay(kSize);
  auto expected = base_content(kSize);
  const auto bytes = test::make_content(3, 700);
  image->write(2 * kCluster + 300, bytes);
  std::copy(bytes.begin(), bytes.end(), expected.begin() + 2 * kCluster + 300);
  EXPECT_TRUE(read_all(*image) == expected);
  image->close();
  EXPECT_TRUE(read_all(*open(overlay_, true)) == expected);
  EXPECT_TRUE(read_all(*open(base_, true)) == base_content(kSize)) << "the backing file stays";
}

TEST_F(Backing, IsCopiedAcrossItsEnd) {
  make_base(5 * kCluster + 512);
  const auto image = make_overlay(kSize);
  auto expected = base_content(kSize);
  const auto bytes = test::make_content(3, 100);
  image->write(5 * kCluster + 1000, bytes);
  std::copy(bytes.begin(), bytes.end(), expected.begin() + 5 * kCluster + 1000);
  EXPECT_TRUE(read_all(*image) == expected);
}

TEST_F(Backing, DoesNotShowThroughZeroesAndDiscards) {
  make_base(kSize);
  const auto image = make_overlay(kSize);
  image->write_zeroes(kCluster + 100, 2 * kCluster, false);
  image->write_zeroes(5 * kCluster, kCluster, true);
  image->write(8 * kCluster, test::make_content(1, kCluster));
  image->discard(8 * kCluster, 2 * kCluster);
  auto expected = base_content(kSize);
  const auto zero = [&](std::uint64_t begin, std::uint64_t length) {
    std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(begin), length, std::byte{0});
  };
  zero(kCluster + 100, 2 * kCluster);
  zero(5 * kCluster, kCluster);
  zero(8 * kCluster, 2 * kCluster);
  EXPECT_TRUE(read_all(*image) == expected);
}

TEST_F(Backing, InVersion2DoesNotShowThroughZeroesEither) {
  make_base(kSize);
  const auto image = make_overlay(kSize, 2);
  image->write_zeroes(kCluster + 100, 2 * kCluster, true);
  auto expected = base_content(kSize);
  std::fill_n(expected.begin() + kCluster + 100, 2 * kCluster, std::byte{0});
  EXPECT_TRUE(read_all(*image) == expected);
}

TEST_F(Backing, IsNotOpenedWhereThatIsNotWanted) {
  make_base(kSize);
  make_overlay(kSize)->close();
  std::filesystem::remove(base_);
  OpenOptions options;
  options.open_backing = false;
  const auto image = Image::open(overlay_, options);
  EXPECT_EQ(image->backing(), nullptr);
  EXPECT_EQ(image->info().backing_file, "base.img");
  EXPECT_EQ(image->info().backing_file_resolved, base_);
  EXPECT_TRUE(read_all(*image) == std::vector<std::byte>(kSize));
}

TEST_F(Backing, IsMappedWithTheDepthThatDecides) {
  make_base(3 * kCluster);
  const auto image = make_overlay(6 * kCluster);
  image->write(kCluster, test::make_content(1, kCluster));
  const auto kind_and_depth = [&](std::uint64_t cluster) {
    const Extent extent = image->map(cluster * kCluster, kCluster);
    return std::pair(extent.kind, extent.depth);
  };
  EXPECT_EQ(kind_and_depth(0), std::pair(ExtentKind::data, 1u));
  EXPECT_EQ(kind_and_depth(1), std::pair(ExtentKind::data, 0u));
  EXPECT_EQ(kind_and_depth(2), std::pair(ExtentKind::data, 1u));
  EXPECT_EQ(image->map(0, kSize / 4).storage, &image->backing()->storage());
  EXPECT_EQ(image->map_layer(0, kCluster).kind, ExtentKind::unallocated);
  std::vector<std::byte> beyond(3 * kCluster, std::byte{1});
  image->read(3 * kCluster, beyond);
  EXPECT_TRUE(beyond == std::vector<std::byte>(3 * kCluster));
}

}  // namespace
}  // namespace qcowkit
