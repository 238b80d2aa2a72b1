// Zstandard clusters as other writers make them. Where the reference was tried, its verdict is
// ours.
#include "codec/zstd.h"

#include <gtest/gtest.h>
#include <zstd.h>

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
using test::make_cluster;

struct FrameOptions {
  int window_bits = 0;
  bool checksum = false;
};

/// One frame, written as a stream of unknown length where a window is asked for: its header then
/// names that window, and not the content's size.
Bytes make_frame(std::span<const std::byte> from, FrameOptions options = {}) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  if (options.window_bits != 0) {
    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, options.window_bits);
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  }
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, options.checksum ? 1 : 0);
  Bytes into(ZSTD_compressBound(from.size()) + 64);
  ZSTD_outBuffer out{into.data(), into.size(), 0};
  ZSTD_inBuffer in{from.data(), from.size(), 0};
  while (in.pos < in.size) ZSTD_compressStream2(context, &out, &in, ZSTD_e_continue);
  EXPECT_EQ(ZSTD_compressStream2(context, &out, &in, ZSTD_e_end), 0U);
  ZSTD_freeCCtx(context);
  into.resize(out.pos);
  return into;
}

Bytes operator+(Bytes first, const Bytes& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

class Unzstd : public testing::Test {
 protected:
  bool reads(const Bytes& stream) { return unzstd_cluster(stream, back_) && back_ == cluster_; }

  std::span<const std::byte> first(std::size_t size) { return std::span(cluster_).first(size); }
  std::span<const std::byte> from(std::size_t start) { return std::span(cluster_).subspan(start); }

  Bytes cluster_ = make_cluster(Content::text, 65536);
  Bytes back_ = Bytes(65536);
  const Bytes skippable_ = bytes_of("\x50\x2a\x4d\x18\x05\0\0\0hello"sv);
  const Bytes garbage_ = Bytes(600, std::byte{0xff});
};

TEST_F(Unzstd, FrameOfTheReferenceIsRead) {
  constexpr std::string_view kFrame =
      "\x28\xb5\x2f\xfd\x60\x00\x01\xf5\x02\x00\xc4\x02\x43\x6c\x75\x73"
      "\x74\x65\x72\x20\x30\x20\x69\x73\x20\x73\x74\x6f\x72\x65\x64\x20"
      "\x77\x68\x6f\x6c\x65\x2e\x20\x31\x32\x33\x34\x35\x36\x37\x38\x39"
      "\x31\x31\x31\x31\x31\x31\x31\x31\x13\x00\x1a\x5b\x48\xc6\x86\x87"
      "\xb1\x21\xbb\xd8\x50\x2c\x36\xbc\x8a\x0d\x19\xc5\x86\x32\xb1\x21"
      "\x48\x2c\xe6\x80\xcd\x80\x2d\xc0\x3e\x60\x33\x60\x0b\xb0\x0f\xd8"
      "\x0c\xd8\x02\xec\xdd\xdf\x39\x06"sv;
  std::string text;
  for (int i = 0; text.size() < 512; ++i) text += fmt::format("Cluster {} is stored whole. ", i);
  text.resize(512);
  Bytes cluster(512);
  ASSERT_TRUE(unzstd_cluster(bytes_of(kFrame), cluster));
  EXPECT_EQ(cluster, bytes_of(text));
}

TEST_F(Unzstd, SeveralFramesMakeUpACluster) {
  const auto frames = make_frame(first(30000)) + make_frame(from(30000));
  EXPECT_TRUE(reads(frames));
  EXPECT_TRUE(reads(frames + garbage_));
}

TEST_F(Unzstd, SkippableAndEmptyFramesAreSkipped) {
  EXPECT_TRUE(reads(skippable_ + make_frame(first(100)) + make_frame({}) + skippable_ +
                    make_frame(from(100))));
}

TEST_F(Unzstd, SkippableFramesAloneAreDamaged) { EXPECT_FALSE(reads(skippable_ + skippable_)); }

TEST_F(Unzstd, FrameThatNamesAHugeWindowIsReadWithoutItsMemory) {
  EXPECT_TRUE(reads(make_frame(cluster_, {.window_bits = 27})));
  EXPECT_TRUE(reads(make_frame(first(100), {.window_bits = 27}) + make_frame(from(100))));
}

TEST_F(Unzstd, LongerThanTheClusterIsDamaged) {
  const Bytes longer = make_cluster(Content::text, 65537);
  EXPECT_FALSE(reads(make_frame(longer)));
  EXPECT_FALSE(reads(make_frame(longer, {.window_bits = 20})));
  EXPECT_FALSE(reads(make_frame(first(30000)) + make_frame(cluster_)));
}

TEST_F(Unzstd, ShorterThanTheClusterIsDamaged) {
  EXPECT_FALSE(reads(make_frame(first(65535))));
  EXPECT_FALSE(reads(make_frame(first(65535)) + garbage_));
  EXPECT_FALSE(reads(make_frame({})));
}

TEST_F(Unzstd, ChecksumIsVerified) {
  Bytes frame = make_frame(cluster_, {.checksum = true});
  EXPECT_TRUE(reads(frame));
  frame.back() ^= std::byte{1};
  EXPECT_FALSE(reads(frame));
}

TEST_F(Unzstd, FramesOfOldVersionsAreRefused) {
  // Version 0.5: only the magic number matters, nothing behind it may be looked at.
  Bytes frame = make_frame(cluster_);
  frame[0] = std::byte{0x25};
  EXPECT_FALSE(reads(frame));
}

TEST_F(Unzstd, EmptyInputIsDamaged) { EXPECT_FALSE(reads({})); }

TEST(ZstdCompressor, FrameNamesTheClustersSize) {
  // Readers can then decode it in one call, and need no window.
  const Bytes cluster = make_cluster(Content::text, 65536);
  Bytes into(65536);
  const std::size_t length = make_zstd_compressor(0)->compress(cluster, into);
  ASSERT_GT(length, 0U);
  EXPECT_EQ(ZSTD_getFrameContentSize(into.data(), length), cluster.size());
}

}  // namespace
}  // namespace qcowkit::codec
