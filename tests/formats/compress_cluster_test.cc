#include "formats/compress_cluster.h"

#include <gtest/gtest.h>

#include "codec/compression.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"

namespace qcowkit {
namespace {

constexpr std::uint64_t kCluster = 4096;

std::vector<std::byte> decompressed(CompressionType type, const CompressedCluster& compressed) {
  std::vector<std::byte> cluster(kCluster);
  EXPECT_TRUE(codec::decompress(type, compressed.bytes, cluster));
  return cluster;
}

TEST(CompressCluster, DecompressesToWhatItWasInEachType) {
  const auto cluster = test::make_content(2, kCluster);
  for (const CompressionType type : {CompressionType::deflate, CompressionType::zstd}) {
    const CompressedCluster compressed = compress_cluster(type, 0, cluster, kCluster);
    ASSERT_FALSE(compressed.bytes.empty());
    EXPECT_LT(compressed.bytes.size(), kCluster);
    EXPECT_EQ(decompressed(type, compressed), cluster);
  }
}

TEST(CompressCluster, ShortOneAtTheDisksEndIsFilledUpWithZeroes) {
  auto cluster = test::make_content(1, 1000);
  const CompressedCluster compressed =
      compress_cluster(CompressionType::deflate, 0, cluster, kCluster);
  cluster.resize(kCluster);
  EXPECT_EQ(decompressed(CompressionType::deflate, compressed), cluster);
}

TEST(CompressCluster, NoiseHasNoBytes) {
  const auto noise = test::make_content(3, kCluster);
  EXPECT_TRUE(compress_cluster(CompressionType::deflate, 0, noise, kCluster).bytes.empty());
}

TEST(CompressCluster, EachCallHasItsLevel) {
  const auto cluster = test::make_content(2, kCluster);
  const std::size_t fast =
      compress_cluster(CompressionType::deflate, 1, cluster, kCluster).bytes.size();
  const std::size_t small =
      compress_cluster(CompressionType::deflate, 9, cluster, kCluster).bytes.size();
  EXPECT_LT(small, fast);
  EXPECT_EQ(compress_cluster(CompressionType::deflate, 1, cluster, kCluster).bytes.size(), fast);
  EXPECT_EQ(test::error_of([&] {
              compress_cluster(CompressionType::deflate, 10, cluster, kCluster);
            }).code(),
            Errc::invalid_argument);
}

}  // namespace
}  // namespace qcowkit
