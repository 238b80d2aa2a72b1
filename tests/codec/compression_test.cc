// What holds for every compression type: round trips, bounds, and damaged streams.
#include "codec/compression.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <thread>

#include "qcowkit/error.h"
#include "tests/codec/clusters.h"

namespace qcowkit::codec {
namespace {

using test::Bytes;
using test::Content;
using test::GuardedBytes;
using test::kContents;
using test::make_cluster;

constexpr std::size_t kClusterSizeMin = 512;
constexpr std::size_t kClusterSizeMax = 2 << 20;

struct TypeAndLevel {
  CompressionType type;
  int level;
};

std::string name_of(const testing::TestParamInfo<TypeAndLevel>& info) {
  return (info.param.type == CompressionType::zstd ? "zstd" : "deflate") +
         std::to_string(info.param.level);
}

class Compression : public testing::TestWithParam<TypeAndLevel> {
 protected:
  CompressionType type() const { return GetParam().type; }
  std::unique_ptr<Compressor> compressor_ = make_compressor(GetParam().type, GetParam().level);
};

constexpr auto kDeflate = CompressionType::deflate;
constexpr auto kZstd = CompressionType::zstd;
INSTANTIATE_TEST_SUITE_P(Levels, Compression,
                         testing::Values(TypeAndLevel{kDeflate, 0}, TypeAndLevel{kDeflate, 1},
                                         TypeAndLevel{kDeflate, 2}, TypeAndLevel{kDeflate, 3},
                                         TypeAndLevel{kDeflate, 4}, TypeAndLevel{kDeflate, 6},
                                         TypeAndLevel{kDeflate, 9}, TypeAndLevel{kZstd, 0},
                                         TypeAndLevel{kZstd, 1}, TypeAndLevel{kZstd, 3},
                                         TypeAndLevel{kZstd, 12}, TypeAndLevel{kZstd, 22}),
                         name_of);

TEST_P(Compression, EveryClusterSizeAndContentComesBack) {
  // The slowest levels are spared the largest clusters.
  const std::size_t size_max = GetParam().level > 4 ? 65536 : kClusterSizeMax;
  for (std::size_t size = kClusterSizeMin; size <= size_max; size *= 2) {
    for (const Content content : kContents) {
      SCOPED_TRACE(std::string(test::name_of(content)) + ", " + std::to_string(size) + " bytes");
      GuardedBytes cluster(make_cluster(content, size));
      GuardedBytes into(size - 1);
      const std::size_t length = compressor_->compress(cluster.span(), into.span());
      if (content == Content::random) {
        EXPECT_EQ(length, 0U) << "random bytes got smaller";
        continue;
      }
      ASSERT_GT(length, 0U);
      GuardedBytes from(into.span().first(length));
      GuardedBytes back(size);
      ASSERT_TRUE(decompress(type(), from.span(), back.span()));
      EXPECT_TRUE(std::ranges::equal(back.span(), cluster.span()));
    }
  }
}

TEST_P(Compression, RandomBytesComeBackWhereThereIsRoomForThem) {
  for (const std::size_t size : {kClusterSizeMin, std::size_t{65536}}) {
    const Bytes cluster = make_cluster(Content::random, size);
    Bytes into(size + 1024);
    const std::size_t length = compressor_->compress(cluster, into);
    ASSERT_GE(length, size);
    Bytes back(size);
    ASSERT_TRUE(decompress(type(), std::span(into).first(length), back));
    EXPECT_EQ(back, cluster);
  }
}

TEST_P(Compression, ResultFitsExactlyOrIsRefused) {
  const Bytes cluster = make_cluster(Content::text, 4096);
  Bytes into(8192);
  const std::size_t length = compressor_->compress(cluster, into);
  ASSERT_GT(length, 0U);
  ASSERT_LT(length, cluster.size());
  for (const std::size_t room : {std::size_t{0}, std::size_t{1}, length / 2, length - 1}) {
    GuardedBytes small(room);
    EXPECT_EQ(compressor_->compress(cluster, small.span()), 0U) << room << " of " << length;
  }
  // What was refused has left nothing behind: the same cluster gives the same bytes again.
  Bytes again(8192);
  ASSERT_EQ(compressor_->compress(cluster, again), length);
  EXPECT_EQ(again, into);
}

TEST_P(Compression, BytesBehindTheStreamAreIgnored) {
  const Bytes cluster = make_cluster(Content::binary, 65536);
  Bytes into(65536);
  const std::size_t length = compressor_->compress(cluster, into);
  ASSERT_GT(length, 0U);
  for (const std::size_t behind : {1, 7, 511}) {
    Bytes from(into.begin(), into.begin() + static_cast<std::ptrdiff_t>(length));
    from.resize(length + behind, std::byte{0xff});
    Bytes back(cluster.size());
    ASSERT_TRUE(decompress(type(), from, back)) << behind;
    EXPECT_EQ(back, cluster);
  }
}

TEST_P(Compression, TruncatedStreamIsDamaged) {
  const Bytes cluster = make_cluster(Content::text, 4096);
  Bytes into(8192);
  const std::size_t length = compressor_->compress(cluster, into);
  Bytes back(cluster.size());
  for (std::size_t kept = 0; kept + 8 < length; kept += 1 + length / 97) {
    GuardedBytes from(std::span<const std::byte>(into).first(kept));
    EXPECT_FALSE(decompress(type(), from.span(), back)) << kept << " of " << length;
  }
}

TEST_P(Compression, StreamShorterThanTheClusterIsDamaged) {
  const Bytes cluster = make_cluster(Content::text, 4096);
  Bytes into(8192);
  const std::size_t length = compressor_->compress(std::span(cluster).first(4095), into);
  ASSERT_GT(length, 0U);
  Bytes back(cluster.size());
  EXPECT_FALSE(decompress(type(), std::span(into).first(length), back));
}

TEST_P(Compression, MutatedStreamsNeverReachPastTheBuffers) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const Bytes cluster = make_cluster(Content::text, 4096);
  Bytes into(8192);
  const std::size_t length = compressor_->compress(cluster, into);
  GuardedBytes from(length);
  GuardedBytes back(cluster.size());
  for (int round = 0; round < 1000; ++round) {
    std::copy_n(into.begin(), length, from.span().begin());
    for (auto flips = random() % 8 + 1; flips > 0; --flips) {
      from.span()[random() % length] ^= static_cast<std::byte>(1U << random() % 8);
    }
    const std::size_t start = round % 4 == 0 ? random() % length : 0;
    decompress(type(), from.span().subspan(start), back.span());
  }
  // The thread's decompressor has survived.
  ASSERT_TRUE(decompress(type(), std::span(into).first(length), back.span()));
  EXPECT_TRUE(std::ranges::equal(back.span(), cluster));
}

TEST_P(Compression, GarbageNeverReachesPastTheBuffers) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  GuardedBytes back(4096);
  for (int round = 0; round < 1000; ++round) {
    GuardedBytes from(random() % 512);
    for (std::byte& b : from.span()) b = static_cast<std::byte>(random());
    decompress(type(), from.span(), back.span());
  }
}

TEST(Decompress, ThreadsDoNotDisturbEachOther) {
  const auto work = [](CompressionType type, Content content) {
    const auto compressor = make_compressor(type);
    const Bytes cluster = make_cluster(content, 65536);
    Bytes into(65536);
    Bytes back(65536);
    for (int round = 0; round < 50; ++round) {
      const std::size_t length = compressor->compress(cluster, into);
      ASSERT_TRUE(decompress(type, std::span(into).first(length), back));
      ASSERT_EQ(back, cluster);
    }
  };
  std::jthread first(work, kDeflate, Content::text);
  std::jthread second(work, kDeflate, Content::binary);
  std::jthread third(work, kZstd, Content::text);
  std::jthread fourth(work, kZstd, Content::binary);
}

TEST(MakeCompressor, LevelsOutsideTheTypesRangeAreInvalidArguments) {
  for (const auto& [type, level] : {TypeAndLevel{kDeflate, -1}, TypeAndLevel{kDeflate, 10},
                                    TypeAndLevel{kZstd, -1}, TypeAndLevel{kZstd, 23}}) {
    try {
      make_compressor(type, level);
      ADD_FAILURE() << "level " << level << " was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::invalid_argument);
      EXPECT_NE(error.message().find(std::to_string(level)), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace qcowkit::codec
