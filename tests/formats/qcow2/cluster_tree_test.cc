// All that L1 entries lead to, counted up and down as a whole.
#include "formats/qcow2/cluster_tree.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "formats/qcow2/metadata.h"
#include "tests/formats/qcow2/engine_fixture.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::qcow2 {
namespace {

constexpr std::uint64_t kCluster = 4096;

/// A tree of two L2 tables: plain clusters, and two compressed ones that share a host cluster.
class ClusterTreeTest : public testing::Test {
 protected:
  explicit ClusterTreeTest(std::uint32_t refcount_bits = 16)
      : image_(filled_image(refcount_bits)),
        metadata_(*image_, nullptr, Qcow2Layer::read_header(*image_), {}),
        l1_table_(metadata_.map().l1_table()) {}

  static std::shared_ptr<MemoryStorage> filled_image(std::uint32_t refcount_bits) {
    auto image = test::make_engine_image({.refcount_bits = refcount_bits});
    LayerOptions options;
    options.read_only = false;
    Qcow2Layer layer(std::make_unique<test::FaultStorage>(image), nullptr,
                     Qcow2Layer::read_header(*image), options);
    layer.write({0}, test::make_content(3, 2 * kCluster));
    layer.write({512 * kCluster}, test::make_content(3, kCluster));
    for (const std::uint64_t cluster : {4, 5}) {
      const auto plain = test::make_content(2, kCluster);
      layer.write_compressed({cluster * kCluster}, layer.compress(plain, 0), plain);
    }
    layer.close();
    return image;
  }

  ClusterTree tree() {
    return {metadata_.storage(), metadata_.refcounts(), metadata_.map().rules()};
  }
  HostOffset l2_table(std::size_t index) const { return L1Entry(l1_table_[index]).l2_table(); }
  std::uint64_t l2_entry(std::uint64_t index) {
    return test::field_of(*image_, l2_table(0).value + index * 8);
  }
  HostOffset host_of(std::uint64_t index) { return {l2_entry(index) & RawL2Entry::kOffsetMask}; }
  bool is_copied(std::uint64_t index) { return (l2_entry(index) & RawL2Entry::kCopied) != 0; }
  std::uint64_t refcount_of(HostOffset host_offset) {
    return metadata_.refcounts().refcount_of(host_offset);
  }
  /// The cluster that both streams lie in.
  HostOffset streams() {
    return {metadata_.geometry().cluster_start(
        metadata_.map().find({4 * kCluster}, 1).host_offset.value)};
  }

  std::shared_ptr<MemoryStorage> image_;
  Metadata metadata_;
  std::vector<std::uint64_t> l1_table_;
};

TEST_F(ClusterTreeTest, SharedTreeHasOneReferenceMoreEverywhere) {
  tree().share(l1_table_);
  EXPECT_EQ(refcount_of(l2_table(0)), 2u);
  EXPECT_EQ(refcount_of(l2_table(1)), 2u);
  EXPECT_EQ(refcount_of(host_of(0)), 2u);
  EXPECT_EQ(refcount_of(host_of(1)), 2u);
  EXPECT_EQ(refcount_of(streams()), 4u) << "each stream counts by itself";
}

TEST_F(ClusterTreeTest, SharedTreeHasNoCopiedFlags) {
  ASSERT_TRUE(is_copied(0));
  tree().share(l1_table_);
  EXPECT_FALSE(is_copied(0));
  EXPECT_FALSE(is_copied(1));
  EXPECT_FALSE(L1Entry(l1_table_[0]).copied());
  EXPECT_FALSE(L1Entry(l1_table_[1]).copied());
}

TEST_F(ClusterTreeTest, ReleasedTreeIsAsBeforeItWasSharedAndFlagsCanBeSet) {
  const std::vector<std::uint64_t> before = l1_table_;
  tree().share(l1_table_);
  tree().release(l1_table_);
  EXPECT_EQ(refcount_of(l2_table(0)), 1u);
  EXPECT_EQ(refcount_of(host_of(0)), 1u);
  EXPECT_EQ(refcount_of(streams()), 2u);
  tree().set_copied_flags(l1_table_);
  EXPECT_EQ(l1_table_, before);
  EXPECT_TRUE(is_copied(0));
}

TEST_F(ClusterTreeTest, LastReferenceIsGivenUpOnlyWithAFlush) {
  tree().release(l1_table_);
  EXPECT_EQ(refcount_of(host_of(0)), 1u);
  metadata_.flush();
  EXPECT_EQ(refcount_of(host_of(0)), 0u);
  EXPECT_EQ(refcount_of(streams()), 0u);
}

TEST_F(ClusterTreeTest, EntryThatNamesATableTwiceCountsTwice) {
  l1_table_[1] = l1_table_[0];
  tree().share(l1_table_);
  EXPECT_EQ(refcount_of(l2_table(0)), 3u);
  EXPECT_EQ(refcount_of(host_of(0)), 3u);
  EXPECT_EQ(refcount_of(streams()), 6u);
}

TEST_F(ClusterTreeTest, UnalignedTableIsCorrupt) {
  l1_table_[1] |= 512;
  const Error error = test::error_of([&] { tree().share(l1_table_); });
  EXPECT_EQ(error.code(), Errc::corrupt);
  EXPECT_TRUE(test::mentions(error, {"L1 table", "entry 1", "cluster size 4096"}));
  EXPECT_EQ(refcount_of(l2_table(0)), 1u);
}

/// Refcounts of two bits go up to 3.
class NarrowClusterTreeTest : public ClusterTreeTest {
 protected:
  NarrowClusterTreeTest() : ClusterTreeTest(2) {}
};

TEST_F(NarrowClusterTreeTest, LimitThatIsReachedLeavesEverythingAsItWas) {
  const Error error = test::error_of([&] { tree().share(l1_table_); });
  EXPECT_EQ(error.code(), Errc::limit_exceeded);
  EXPECT_TRUE(test::mentions(error, {"refcount", "2 bits"}));
  EXPECT_EQ(refcount_of(l2_table(0)), 1u);
  EXPECT_EQ(refcount_of(l2_table(1)), 1u);
  EXPECT_EQ(refcount_of(host_of(0)), 1u);
  EXPECT_EQ(refcount_of(streams()), 2u);
  EXPECT_TRUE(is_copied(0));
  EXPECT_TRUE(L1Entry(l1_table_[0]).copied());
}

}  // namespace
}  // namespace qcowkit::qcow2
