// Writing: in place, or reserve, move and commit.
#include "tests/formats/qcow2/layer_fixture.h"
#include "tests/support/errors.h"

namespace qcowkit::qcow2 {
namespace {

class Write : public test::LayerTest {};

TEST_F(Write, ManyClustersAreOneRequest) {
  write(0, 3, cluster_);  // makes the L2 table
  const std::uint64_t before = plan_->count(test::kWrites);
  write(4 * cluster_, 3, 50 * cluster_);
  EXPECT_EQ(plan_->count(test::kWrites), before + 1);
  EXPECT_EQ(layer_->map({4 * cluster_}, 50 * cluster_).length_bytes, 50 * cluster_);
  EXPECT_EQ(read(4 * cluster_, 50 * cluster_), test::make_content(3, 50 * cluster_));
}

TEST_F(Write, WhatIsThereIsOverwrittenInPlaceInOneRequest) {
  write(0, 3, 10 * cluster_);
  layer_->flush();
  const HostOffset host = host_of(0);
  const std::uint64_t writes = plan_->count(test::kWrites);
  const std::uint64_t reads = plan_->count(test::kReads);
  write(100, 7, 5 * cluster_);
  EXPECT_EQ(plan_->count(test::kWrites), writes + 1);
  EXPECT_EQ(plan_->count(test::kReads), reads);
  EXPECT_EQ(host_of(0), host);
  EXPECT_EQ(read(100, 5 * cluster_), test::make_content(7, 5 * cluster_));
}

TEST_F(Write, AroundASmallWriteANewClusterIsZero) {
  write(cluster_ + 100, 1, 10);
  auto expected = zeroes(cluster_);
  std::fill_n(expected.begin() + 100, 10, std::byte{1});
  EXPECT_EQ(read(cluster_, cluster_), expected);
}

TEST_F(Write, AReusedHostClusterShowsNothingOfItsFormerContent) {
  write(0, 1, cluster_);
  const HostOffset host = host_of(0);
  layer_->discard({0}, cluster_);
  layer_->flush();
  // What the storage keeps of it.
  image_->write(host.value, test::make_content(5, cluster_));
  write(2 * cluster_ + 100, 1, 10);
  ASSERT_EQ(host_of(2 * cluster_).value, host.value);
  auto expected = zeroes(cluster_);
  std::fill_n(expected.begin() + 100, 10, std::byte{1});
  EXPECT_EQ(read(2 * cluster_, cluster_), expected);
}

TEST_F(Write, APreallocatedZeroClusterIsUsed) {
  write(0, 3, cluster_);
  const HostOffset host = host_of(0);
  layer_->write_zeroes({0}, cluster_, false);
  write(100, 1, 10);
  EXPECT_EQ(host_of(0), host);
  auto expected = zeroes(cluster_);
  std::fill_n(expected.begin() + 100, 10, std::byte{1});
  EXPECT_EQ(read(0, cluster_), expected);
  expect_clean();
}

TEST_F(Write, OverACompressedClusterKeepsItsRest) {
  write_compressed(0, 2);
  write(100, 1, 10);
  EXPECT_EQ(kind_at(0), ExtentKind::data);
  auto expected = test::make_content(2, cluster_);
  std::fill_n(expected.begin() + 100, 10, std::byte{1});
  EXPECT_EQ(read(0, cluster_), expected);
  expect_clean();
}

TEST_F(Write, ToASharedClusterGoesToANewOne) {
  write(0, 3, cluster_);
  const HostOffset shared = host_of(0);
  share(0);
  write(100, 1, 10);
  EXPECT_NE(host_of(0), shared);
  auto expected = test::make_content(3, cluster_);
  std::fill_n(expected.begin() + 100, 10, std::byte{1});
  EXPECT_EQ(read(0, cluster_), expected);
  std::vector<std::byte> old(cluster_);
  image_->read(shared.value, old);
  EXPECT_EQ(old, test::make_content(3, cluster_));
  layer_->close();
  EXPECT_EQ(test::refcount_on_disk(*image_, shared), 1u);
}

TEST_F(Write, ThatFailsLeavesTheImageAsItWas) {
  write(0, 3, 2 * cluster_);
  layer_->flush();
  for (const int error : {EIO, ENOSPC}) {
    plan_->arm({.operations = test::kWrites, .at = 1, .errno_value = error});
    EXPECT_EQ(test::error_of([&] { write(10 * cluster_, 7, 20 * cluster_); }).code().value(),
              error);
    plan_->disarm();
    EXPECT_EQ(kind_at(10 * cluster_), ExtentKind::unallocated);
  }
  expect_clean();
  write(10 * cluster_, 7, 20 * cluster_);
  EXPECT_EQ(read(10 * cluster_, 20 * cluster_), test::make_content(7, 20 * cluster_));
}

TEST_F(Write, InPlaceByTheCallerFillsWholeRuns) {
  write(3 * cluster_, 3, 2 * cluster_);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> runs;
  layer_->write_in_place(
      {0}, 8 * cluster_,
      [&](Storage& storage, std::uint64_t host, std::uint64_t guest, std::uint64_t length) {
        runs.emplace_back(guest, length);
        storage.write(host, test::make_content(1, length));
      });
  EXPECT_EQ(runs,
            (std::vector<std::pair<std::uint64_t, std::uint64_t>>{
                {0, 3 * cluster_}, {3 * cluster_, 2 * cluster_}, {5 * cluster_, 3 * cluster_}}));
  EXPECT_EQ(read(0, 8 * cluster_), test::make_content(1, 8 * cluster_));
}

TEST_F(Write, InPlaceByACallerWhoFailsChangesNothing) {
  EXPECT_THROW(layer_->write_in_place({0}, 8 * cluster_,
                                      [](auto&&...) { throw Error(Errc::cancelled, "stop"); }),
               Error);
  EXPECT_EQ(kind_at(0), ExtentKind::unallocated);
  expect_clean();
}

TEST_F(Write, InPlaceIsForWholeClusters) {
  const auto fill = [](auto&&...) { FAIL() << "called"; };
  EXPECT_EQ(test::error_of([&] { layer_->write_in_place({100}, cluster_, fill); }).code(),
            Errc::invalid_argument);
  EXPECT_EQ(test::error_of([&] { layer_->write_in_place({0}, 100, fill); }).code(),
            Errc::invalid_argument);
}

class WriteSubclusters : public test::LayerTest {
 protected:
  static constexpr std::uint64_t kSub = 2048;
  WriteSubclusters() : LayerTest({.cluster_size = 65536, .extended_l2 = true}) {}
};

TEST_F(WriteSubclusters, OnlyTheSubclustersTouchedAreAllocated) {
  write(5 * kSub + 10, 1, kSub);
  EXPECT_EQ(kind_at(4 * kSub), ExtentKind::unallocated);
  EXPECT_EQ(kind_at(5 * kSub), ExtentKind::data);
  EXPECT_EQ(kind_at(6 * kSub), ExtentKind::data);
  EXPECT_EQ(kind_at(7 * kSub), ExtentKind::unallocated);
}

TEST_F(WriteSubclusters, FurtherOnesJoinThemInTheSameHostCluster) {
  write(5 * kSub, 1, kSub);
  const HostOffset host = host_of(5 * kSub);
  write(9 * kSub + 100, 5, 100);
  EXPECT_EQ(host_of(9 * kSub), host + 4 * kSub);
  EXPECT_EQ(read(5 * kSub, kSub), test::make_content(1, kSub));
  expect_clean();
}

TEST_F(WriteSubclusters, WhatIsAllocatedBesideIsNotWrittenAgain) {
  // Somebody may be writing to it in place, which a copy would undo: it is not even read.
  write(5 * kSub, 1, kSub);
  const std::uint64_t reads = plan_->count(test::kReads);
  write(5 * kSub + 1000, 5, kSub);
  write(4 * kSub, 5, kSub + 20);
  EXPECT_EQ(plan_->count(test::kReads), reads);
  EXPECT_EQ(read(5 * kSub + 20, 980), test::make_content(1, 980));
}

TEST_F(WriteSubclusters, OfASharedClusterAllAreCopied) {
  write(0, 3, 10 * kSub);
  layer_->write_zeroes({2 * kSub}, kSub, false);
  const HostOffset shared = host_of(0);
  share(0);
  write(5 * kSub + 100, 1, 10);
  EXPECT_NE(host_of(0), shared);
  auto expected = test::make_content(3, 10 * kSub);
  std::fill_n(expected.begin() + 2 * kSub, kSub, std::byte{0});
  std::fill_n(expected.begin() + 5 * kSub + 100, 10, std::byte{1});
  EXPECT_EQ(read(0, 10 * kSub), expected);
  EXPECT_EQ(kind_at(10 * kSub), ExtentKind::unallocated);
  layer_->close();
  EXPECT_EQ(test::refcount_on_disk(*image_, shared), 1u);
}

TEST_F(WriteSubclusters, AZeroSubclusterIsZeroAroundTheWrite) {
  write(0, 1, 4 * kSub);
  layer_->write_zeroes({kSub}, kSub, false);
  EXPECT_EQ(kind_at(kSub), ExtentKind::zero);
  write(kSub + 100, 1, 10);
  auto expected = zeroes(kSub);
  std::fill_n(expected.begin() + 100, 10, std::byte{1});
  EXPECT_EQ(read(kSub, kSub), expected);
}

}  // namespace
}  // namespace qcowkit::qcow2
