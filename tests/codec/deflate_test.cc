// Deflate clusters as other writers make them and other readers need them; zlib is the second
// opinion.
#include "codec/deflate.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "tests/codec/clusters.h"

namespace qcowkit::codec {
namespace {

using namespace std::string_view_literals;
using test::Bytes;
using test::bytes_of;
using test::Content;
using test::kContents;
using test::make_cluster;

Bytef* pointer_to(std::span<const std::byte> bytes) {
  return reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
}

Bytes deflate_with_zlib(std::span<const std::byte> from, int window_bits, int flush = Z_FINISH) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, -window_bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
  Bytes into(from.size() + 1024);
  stream.next_in = pointer_to(from);
  stream.avail_in = static_cast<uInt>(from.size());
  stream.next_out = pointer_to(into);
  stream.avail_out = static_cast<uInt>(into.size());
  EXPECT_GE(deflate(&stream, flush), Z_OK);
  into.resize(into.size() - stream.avail_out);
  deflateEnd(&stream);
  return into;
}

/// Inflates byte by byte: only then zlib looks for matches in its window alone, and not in what it
/// has just put out, and so refuses those that reach back further than the window is long.
bool inflates_with_window(std::span<const std::byte> from, int window_bits,
                          std::span<const std::byte> to) {
  z_stream stream{};
  EXPECT_EQ(inflateInit2(&stream, -window_bits), Z_OK);
  stream.next_in = pointer_to(from);
  stream.avail_in = static_cast<uInt>(from.size());
  std::size_t equal = 0;
  int result = Z_OK;
  while (result == Z_OK) {
    Bytef byte = 0;
    stream.next_out = &byte;
    stream.avail_out = 1;
    result = inflate(&stream, Z_NO_FLUSH);
    if (stream.avail_out != 0) continue;
    if (equal == to.size() || static_cast<std::byte>(byte) != to[equal]) break;
    ++equal;
  }
  inflateEnd(&stream);
  return result == Z_STREAM_END && equal == to.size();
}

TEST(InflatesWithWindow, TellsAMatchThatReachesTooFarBack) {
  // The premise of the window tests below: text repeated after 4097 bytes needs more than 12 bits.
  Bytes far = make_cluster(Content::random, 4097);
  far.insert(far.end(), far.begin(), far.begin() + 1000);
  const Bytes stream = deflate_with_zlib(far, 15);
  ASSERT_LT(stream.size(), 4500U);
  EXPECT_TRUE(inflates_with_window(stream, 15, far));
  EXPECT_FALSE(inflates_with_window(stream, 12, far));
}

class DeflateLevel : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Levels, DeflateLevel, testing::Range(0, 10),
                         testing::PrintToStringParamName());

TEST_P(DeflateLevel, OutputNeedsNoMoreThanA4KibWindow) {
  const auto compressor = make_deflate_compressor(GetParam());
  for (const std::size_t size : {std::size_t{4096}, std::size_t{1} << 18}) {
    for (const Content content : kContents) {
      const Bytes cluster = make_cluster(content, size);
      Bytes into(size + 4096);
      const std::size_t length = compressor->compress(cluster, into);
      ASSERT_GT(length, 0U);
      EXPECT_TRUE(inflates_with_window(std::span(into).first(length), 12, cluster))
          << test::name_of(content) << ", " << size << " bytes";
    }
  }
}

TEST_P(DeflateLevel, RepetitionsJustOutsideTheWindowAreNotUsed) {
  // Every period from just inside to just outside of the window, which random bytes make the only
  // thing to find.
  const auto compressor = make_deflate_compressor(GetParam());
  const Bytes random = make_cluster(Content::random, 5000);
  for (std::size_t period = 4090; period <= 4102; ++period) {
    Bytes cluster;
    while (cluster.size() < 65536) {
      cluster.insert(cluster.end(), random.begin(),
                     random.begin() + static_cast<std::ptrdiff_t>(period));
    }
    cluster.resize(65536);
    Bytes into(cluster.size() + 4096);
    const std::size_t length = compressor->compress(cluster, into);
    ASSERT_GT(length, 0U);
    EXPECT_TRUE(inflates_with_window(std::span(into).first(length), 12, cluster))
        << "period " << period;
  }
}

TEST(Deflate, DefaultLevelIsAtMostATenthLargerThanZlibsDefault) {
  for (const Content content : {Content::text, Content::binary}) {
    const Bytes cluster = make_cluster(content, 65536);
    Bytes into(cluster.size());
    const std::size_t fast = make_deflate_compressor(0)->compress(cluster, into);
    const std::size_t small = make_deflate_compressor(6)->compress(cluster, into);
    EXPECT_LE(fast, small + small / 10) << test::name_of(content);
  }
}

TEST(Inflate, StreamOfTheReferenceIsRead) {
  constexpr std::string_view kStream =
      "\x7d\xd0\x3d\x0a\x80\x30\x10\x44\xe1\xab\xec\x09\xc4\xf1\xdf\x3a"
      "\x57\x71\x41\x21\x10\xc8\x46\xbc\xbe\x8d\xd8\xcd\xd4\x5f\xf5\x5e"
      "\xca\x77\x34\xaf\xd6\xdb\x15\x16\xad\x54\x3f\xec\x39\x4b\xf6\xce"
      "\xd2\x47\xe0\x34\x70\x1a\x39\x4d\x9c\x66\x4e\x0b\xa7\x95\xd3\xc6"
      "\x69\x17\xc9\x6a\x87\xf8\x01\x31\x04\xe2\x08\xc4\x12\x88\x27\x10"
      "\x53\x20\xae\xe0\xdf\xf2\x02"sv;
  std::string text;
  for (int i = 0; text.size() < 512; ++i) text += fmt::format("Cluster {} is stored whole. ", i);
  text.resize(512);
  Bytes cluster(512);
  ASSERT_TRUE(inflate_cluster(bytes_of(kStream), cluster));
  EXPECT_EQ(cluster, bytes_of(text));
}

// The following were tried on the reference: it reads the same ones, and refuses the same ones.

TEST(Inflate, StreamWithTheLargestWindowIsRead) {
  Bytes cluster = make_cluster(Content::random, 30000);
  cluster.insert(cluster.end(), cluster.begin(), cluster.end());
  cluster.resize(65536);
  Bytes back(cluster.size());
  ASSERT_TRUE(inflate_cluster(deflate_with_zlib(cluster, 15), back));
  EXPECT_EQ(back, cluster);
}

TEST(Inflate, StreamLongerThanTheClusterFillsIt) {
  const Bytes longer = make_cluster(Content::text, 70000);
  for (const std::size_t size : {std::size_t{65536}, std::size_t{69999}}) {
    Bytes back(size);
    ASSERT_TRUE(inflate_cluster(deflate_with_zlib(longer, 12), back)) << size;
    EXPECT_TRUE(std::equal(back.begin(), back.end(), longer.begin())) << size;
  }
}

TEST(Inflate, StreamWithoutFinalBlockFillsTheCluster) {
  const Bytes cluster = make_cluster(Content::text, 65536);
  Bytes back(cluster.size());
  ASSERT_TRUE(inflate_cluster(deflate_with_zlib(cluster, 12, Z_SYNC_FLUSH), back));
  EXPECT_EQ(back, cluster);
}

TEST(Inflate, StreamWithoutFinalBlockBeforeGarbageIsDamaged) {
  const Bytes cluster = make_cluster(Content::text, 65536);
  Bytes stream = deflate_with_zlib(cluster, 12, Z_SYNC_FLUSH);
  stream.resize(stream.size() + 600, std::byte{0xff});
  Bytes back(cluster.size());
  EXPECT_FALSE(inflate_cluster(stream, back));
}

TEST(Inflate, SecondStreamDoesNotMakeUpForAShortOne) {
  const Bytes cluster = make_cluster(Content::text, 65536);
  Bytes stream = deflate_with_zlib(std::span(cluster).first(65000), 12);
  const Bytes rest = deflate_with_zlib(std::span(cluster).subspan(65000), 12);
  stream.insert(stream.end(), rest.begin(), rest.end());
  Bytes back(cluster.size());
  EXPECT_FALSE(inflate_cluster(stream, back));
}

TEST(Inflate, EmptyInputIsDamaged) {
  Bytes back(512);
  EXPECT_FALSE(inflate_cluster({}, back));
}

}  // namespace
}  // namespace qcowkit::codec
