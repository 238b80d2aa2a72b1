// Compressed clusters.
#include "tests/formats/qcow2/layer_fixture.h"
#include "tests/support/errors.h"

namespace qcowkit::qcow2 {
namespace {

class Compressed : public test::LayerTest {};

constexpr std::uint64_t kText = 2;   // compresses well
constexpr std::uint64_t kNoise = 3;  // does not

TEST_F(Compressed, AClusterIsReadBackWholeAndInParts) {
  write_compressed(cluster_, kText);
  EXPECT_EQ(kind_at(cluster_), ExtentKind::compressed);
  const auto expected = test::make_content(kText, cluster_);
  EXPECT_EQ(read(cluster_, cluster_), expected);
  EXPECT_TRUE(std::ranges::equal(read(cluster_ + 100, 50), std::span(expected).subspan(100, 50)));
  open();
  EXPECT_TRUE(std::ranges::equal(read(cluster_ + 100, 50), std::span(expected).subspan(100, 50)));
}

TEST_F(Compressed, SmallReadsDecompressAClusterOnce) {
  write_compressed(0, kText);
  read(0, 10);
  const std::uint64_t before = plan_->count(test::kReads);
  for (std::uint64_t at = 10; at < cluster_; at += 10) read(at, 10 < cluster_ - at ? 10 : 1);
  EXPECT_EQ(plan_->count(test::kReads), before);
}

TEST_F(Compressed, NoiseIsStoredPlain) {
  write_compressed(0, kNoise);
  EXPECT_EQ(kind_at(0), ExtentKind::data);
  EXPECT_EQ(read(0, cluster_), test::make_content(kNoise, cluster_));
  expect_clean();
}

TEST_F(Compressed, StreamsLieSideBySide) {
  write_compressed(0, kText);
  write_compressed(cluster_, kText);
  const LayerExtent first = layer_->map({0}, 1);
  const LayerExtent second = layer_->map({cluster_}, 1);
  EXPECT_GT(second.host_offset, first.host_offset);
  EXPECT_LT(second.host_offset - first.host_offset, cluster_ / 2);
  expect_clean();
}

TEST_F(Compressed, ManyStreamsAreCountedRight) {
  for (std::uint64_t i = 0; i < 200; ++i) write_compressed(i * cluster_, kText + 4 * i);
  for (std::uint64_t i = 0; i < 200; i += 3) layer_->discard({i * cluster_}, cluster_);
  for (std::uint64_t i = 0; i < 200; i += 5) write(i * cluster_ + 50, 1, 100);
  expect_clean();
  EXPECT_EQ(read(cluster_, cluster_), test::make_content(kText + 4, cluster_));
}

TEST_F(Compressed, AStreamMayReplaceWhatWasThere) {
  write(0, 1, cluster_);
  write_compressed(0, kText);
  EXPECT_EQ(read(0, cluster_), test::make_content(kText, cluster_));
  read(0, 10);
  write_compressed(0, kText + 4);
  EXPECT_EQ(read(0, 10), test::make_content(kText + 4, 10)) << "not what was decompressed before";
  expect_clean();
}

TEST_F(Compressed, WhatWasDecompressedIsForgottenWithItsPlace) {
  write_compressed(0, kText);
  read(0, 10);
  const HostOffset place = host_of(0);
  layer_->discard({0}, cluster_);
  layer_->flush();
  write_compressed(cluster_, kText + 4);
  ASSERT_EQ(host_of(cluster_), place);
  EXPECT_EQ(read(cluster_, 10), test::make_content(kText + 4, 10));
}

TEST_F(Compressed, ThatFailsToBeWrittenLeavesTheImageAsItWas) {
  write(0, 1, cluster_);
  layer_->flush();
  plan_->arm({.operations = test::kWrites, .at = 1});
  EXPECT_THROW(write_compressed(0, kText), Error);
  plan_->disarm();
  EXPECT_EQ(read(0, cluster_), test::make_content(1, cluster_));
  expect_clean();
}

TEST_F(Compressed, IsForOneWholeCluster) {
  const auto bytes = test::make_content(kText, cluster_);
  const CompressedCluster compressed = layer_->compress(bytes, 0);
  EXPECT_FALSE(compressed.bytes.empty());
  EXPECT_EQ(test::error_of([&] { layer_->write_compressed({100}, compressed, bytes); }).code(),
            Errc::invalid_argument);
  EXPECT_EQ(test::error_of([&] {
              layer_->write_compressed({0}, compressed, std::span(bytes).first(100));
            }).code(),
            Errc::invalid_argument);
}

class CompressedAtTheEnd : public test::LayerTest {
 protected:
  CompressedAtTheEnd() : LayerTest({.size = 10 * 4096 + 512}) {}
};

TEST_F(CompressedAtTheEnd, TheLastPartOfAClusterIsWhole) {
  const auto bytes = test::make_content(kText, 512);
  layer_->write_compressed({10 * cluster_}, layer_->compress(bytes, 0), bytes);
  EXPECT_EQ(kind_at(10 * cluster_), ExtentKind::compressed);
  open();
  EXPECT_EQ(read(10 * cluster_, 512), bytes);
  EXPECT_EQ(image_->size() % 512, 0u);
  expect_clean();
}

}  // namespace
}  // namespace qcowkit::qcow2
