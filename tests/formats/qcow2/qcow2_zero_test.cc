// Zeroes and discards.
#include "tests/formats/qcow2/layer_fixture.h"

namespace qcowkit::qcow2 {
namespace {

class Zero : public test::LayerTest {};

TEST_F(Zero, KeepsTheHostClusterUnlessItMayGo) {
  write(0, 3, 2 * cluster_);
  layer_->write_zeroes({0}, cluster_, false);
  EXPECT_EQ(kind_at(0), ExtentKind::zero);
  EXPECT_TRUE(layer_->map({0}, 1).has_host_offset);
  layer_->write_zeroes({0}, cluster_, true);
  EXPECT_EQ(kind_at(0), ExtentKind::zero);
  EXPECT_FALSE(layer_->map({0}, 1).has_host_offset);
  EXPECT_EQ(read(0, 2 * cluster_).front(), std::byte{0});
  EXPECT_EQ(kind_at(cluster_), ExtentKind::data);
  expect_clean();
}

TEST_F(Zero, WritesNoDataWhereEntriesSuffice) {
  write(0, 3, 8 * cluster_);
  const std::uint64_t before = plan_->count(test::kWrites | test::kZeroWrites);
  layer_->write_zeroes({cluster_}, 6 * cluster_, false);
  EXPECT_EQ(plan_->count(test::kWrites | test::kZeroWrites), before);
}

TEST_F(Zero, OfPartsOfClustersKeepsTheRest) {
  write(0, 1, 3 * cluster_);
  layer_->write_zeroes({100}, 2 * cluster_, false);
  EXPECT_EQ(read(0, 100), test::make_content(1, 100));
  EXPECT_EQ(read(100, 2 * cluster_), zeroes(2 * cluster_));
  EXPECT_EQ(read(2 * cluster_ + 100, 100), test::make_content(1, 100));
  EXPECT_EQ(kind_at(0), ExtentKind::data);
  EXPECT_EQ(kind_at(cluster_), ExtentKind::zero);
}

TEST_F(Zero, OfWhatWasNeverWrittenIsKeptOverALaterBackingFile) {
  layer_->write_zeroes({cluster_}, 5 * cluster_, false);
  const LayerExtent extent = layer_->map({cluster_}, 8 * cluster_);
  EXPECT_EQ(extent.kind, ExtentKind::zero);
  EXPECT_EQ(extent.length_bytes, 5 * cluster_);
  EXPECT_FALSE(extent.has_host_offset);
  EXPECT_EQ(kind_at(0), ExtentKind::unallocated);
}

TEST_F(Zero, OfNothingChangesNothing) {
  layer_->write_zeroes({100}, 0, true);
  layer_->write_zeroes({cluster_}, 0, false);
  EXPECT_EQ(layer_->map({0}, 8 * cluster_).kind, ExtentKind::unallocated);
  EXPECT_EQ(layer_->map({0}, 8 * cluster_).length_bytes, 8 * cluster_);
}

TEST_F(Zero, OfAPartOfAClusterThatReadsAsZeroesCoversAllOfIt) {
  write(5 * cluster_, 3, cluster_);
  const std::uint64_t before = plan_->count(test::kWrites | test::kZeroWrites);
  layer_->write_zeroes({cluster_ + 100}, 2 * cluster_, true);
  layer_->write_zeroes({4 * cluster_ + 7}, 1, false);
  EXPECT_EQ(plan_->count(test::kWrites | test::kZeroWrites), before) << "data were written";
  EXPECT_EQ(kind_at(0), ExtentKind::unallocated);
  EXPECT_EQ(layer_->map({cluster_}, 3 * cluster_).length_bytes, 3 * cluster_);
  EXPECT_EQ(kind_at(cluster_), ExtentKind::zero);
  EXPECT_EQ(kind_at(4 * cluster_), ExtentKind::zero);
  // One whose rest is stored keeps that.
  layer_->write_zeroes({5 * cluster_ + 100}, 100, true);
  EXPECT_EQ(kind_at(5 * cluster_), ExtentKind::data);
  EXPECT_EQ(read(5 * cluster_, 100), test::make_content(3, 100));
  expect_clean();
}

TEST_F(Zero, OverACompressedClusterFreesIt) {
  write_compressed(0, 2);
  layer_->write_zeroes({0}, cluster_, false);
  EXPECT_EQ(kind_at(0), ExtentKind::zero);
  write_compressed(cluster_, 2);
  layer_->write_zeroes({cluster_ + 10}, 20, true);
  EXPECT_EQ(read(cluster_ + 10, 20), zeroes(20));
  EXPECT_EQ(read(cluster_, 10), test::make_content(2, 10));
  expect_clean();
}

TEST_F(Zero, InterruptedByAnErrorLosesNoCluster) {
  write(0, 3, 4 * cluster_);
  open();
  plan_->arm({.operations = test::kReads, .at = 1});
  EXPECT_THROW(layer_->write_zeroes({0}, 4 * cluster_, true), Error);
  plan_->disarm();
  EXPECT_EQ(read(0, 4 * cluster_), test::make_content(3, 4 * cluster_));
  layer_->write_zeroes({0}, 4 * cluster_, true);
  expect_clean();
}

TEST_F(Zero, ADiscardGivesWholeClustersBack) {
  write(0, 3, 4 * cluster_);
  layer_->flush();
  const std::uint64_t allocated = image_->allocated_bytes();
  layer_->discard({100}, 3 * cluster_);
  EXPECT_EQ(kind_at(0), ExtentKind::data);
  EXPECT_EQ(kind_at(cluster_), ExtentKind::zero);
  EXPECT_EQ(kind_at(2 * cluster_), ExtentKind::zero);
  EXPECT_EQ(kind_at(3 * cluster_), ExtentKind::data);
  layer_->discard({5 * cluster_}, cluster_);
  EXPECT_EQ(kind_at(5 * cluster_), ExtentKind::unallocated) << "was never stored";
  layer_->flush();
  EXPECT_EQ(image_->allocated_bytes(), allocated - 2 * cluster_) << "holes have been punched";
  expect_clean();
}

class ZeroAtTheEnd : public test::LayerTest {
 protected:
  ZeroAtTheEnd() : LayerTest({.size = 10 * 4096 + 512}) {}
};

TEST_F(ZeroAtTheEnd, TheLastPartOfAClusterCountsAsWhole) {
  write(10 * cluster_, 1, 512);
  layer_->discard({10 * cluster_}, 512);
  EXPECT_EQ(kind_at(10 * cluster_), ExtentKind::zero);
  write(10 * cluster_, 1, 512);
  layer_->write_zeroes({10 * cluster_}, 512, true);
  EXPECT_EQ(kind_at(10 * cluster_), ExtentKind::zero);
  expect_clean();
}

class ZeroVersion2 : public test::LayerTest {
 protected:
  ZeroVersion2() : LayerTest({.version = 2}) {}
};

TEST_F(ZeroVersion2, GivesClustersBackEvenIfTheyNeedNotGo) {
  write(0, 3, 2 * cluster_);
  layer_->write_zeroes({100}, 100, false);
  EXPECT_EQ(kind_at(0), ExtentKind::data);
  layer_->write_zeroes({0}, cluster_, false);
  EXPECT_EQ(kind_at(0), ExtentKind::unallocated);
  EXPECT_EQ(read(0, cluster_), zeroes(cluster_));
  layer_->write_zeroes({cluster_}, cluster_, true);
  EXPECT_EQ(kind_at(cluster_), ExtentKind::unallocated);
  EXPECT_EQ(read(cluster_, cluster_), zeroes(cluster_));
  expect_clean();
}

class ZeroSubclusters : public test::LayerTest {
 protected:
  static constexpr std::uint64_t kSub = 2048;
  ZeroSubclusters() : LayerTest({.cluster_size = 65536, .extended_l2 = true}) {}
};

TEST_F(ZeroSubclusters, AreZeroOneByOne) {
  write(0, 3, cluster_);
  layer_->write_zeroes({3 * kSub}, 2 * kSub, true);
  EXPECT_EQ(kind_at(2 * kSub), ExtentKind::data);
  EXPECT_EQ(kind_at(3 * kSub), ExtentKind::zero);
  EXPECT_EQ(kind_at(4 * kSub), ExtentKind::zero);
  EXPECT_EQ(kind_at(5 * kSub), ExtentKind::data);
  EXPECT_EQ(read(3 * kSub, 2 * kSub), zeroes(2 * kSub));
}

TEST_F(ZeroSubclusters, TheHostClusterGoesWithTheLastOne) {
  write(0, 3, 4 * kSub);
  layer_->write_zeroes({0}, 3 * kSub, true);
  EXPECT_EQ(kind_at(3 * kSub), ExtentKind::data);
  layer_->write_zeroes({3 * kSub}, kSub, true);
  EXPECT_EQ(kind_at(3 * kSub), ExtentKind::zero);
  EXPECT_FALSE(layer_->map({3 * kSub}, 1).has_host_offset);
  expect_clean();
}

}  // namespace
}  // namespace qcowkit::qcow2
