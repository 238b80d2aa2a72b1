// Shifts and masks of every shape an image can have.
#include "formats/qcow2/geometry.h"

#include <gtest/gtest.h>

#include "formats/qcow2/limits.h"

namespace qcowkit::qcow2 {
namespace {

TEST(Geometry, DefaultShapeHasTheNumbersOfTheSpecification) {
  constexpr Geometry g(16, 4, false);
  EXPECT_EQ(g.cluster_size(), 65536u);
  EXPECT_EQ(g.l2_entries(), 8192u);
  EXPECT_EQ(g.l1_entry_covers(), 512u << 20);
  EXPECT_EQ(g.refcount_block_entries(), 32768u);
  EXPECT_EQ(g.refcount_table_entries_per_cluster(), 8192u);
  EXPECT_EQ(g.subclusters(), 1u);
  EXPECT_EQ(g.subcluster_size(), 65536u);
  EXPECT_EQ(g.all_subclusters(), 1u);
}

TEST(Geometry, ExtendedEntriesHalveTheTableAndSplitTheCluster) {
  constexpr Geometry g(16, 4, true);
  EXPECT_EQ(g.l2_entry_bytes(), 16u);
  EXPECT_EQ(g.l2_entries(), 4096u);
  EXPECT_EQ(g.l1_entry_covers(), 256u << 20);
  EXPECT_EQ(g.subclusters(), 32u);
  EXPECT_EQ(g.subcluster_size(), 2048u);
  EXPECT_EQ(g.all_subclusters(), 0xffffffffu);
}

TEST(Geometry, IndicesTakeAGuestOffsetApart) {
  for (std::uint32_t bits = kClusterBitsMin; bits <= kClusterBitsMax; ++bits) {
    for (const bool extended : {false, true}) {
      const Geometry g(bits, 4, extended);
      for (const std::uint64_t offset :
           {std::uint64_t{0}, g.cluster_size() - 1, g.cluster_size(), g.l1_entry_covers() - 1,
            g.l1_entry_covers(), std::uint64_t{0x123456789a}, kVirtualSizeMax - 1}) {
        const std::uint64_t together = g.l1_index({offset}) * g.l1_entry_covers() +
                                       g.l2_index({offset}) * g.cluster_size() +
                                       g.in_cluster(offset);
        EXPECT_EQ(together, offset) << bits;
        EXPECT_LT(g.l2_index({offset}), g.l2_entries());
        EXPECT_EQ(g.cluster_start(offset) + g.in_cluster(offset), offset);
      }
      EXPECT_EQ(g.l2_entries() * g.l2_entry_bytes(), g.cluster_size());
    }
  }
}

TEST(Geometry, CountsRoundUp) {
  constexpr Geometry g(16, 4, false);
  EXPECT_EQ(g.clusters_for(0), 0u);
  EXPECT_EQ(g.clusters_for(1), 1u);
  EXPECT_EQ(g.clusters_for(65536), 1u);
  EXPECT_EQ(g.clusters_for(65537), 2u);
  EXPECT_EQ(g.l1_entries_for(0), 0u);
  EXPECT_EQ(g.l1_entries_for(1), 1u);
  EXPECT_EQ(g.l1_entries_for(512u << 20), 1u);
  EXPECT_EQ(g.l1_entries_for((512u << 20) + 1), 2u);
  EXPECT_EQ(g.clusters_for(~std::uint64_t{0}), std::uint64_t{1} << 48);
}

TEST(Geometry, RefcountsFillABlockAtEveryWidth) {
  for (std::uint32_t order = 0; order <= kRefcountOrderMax; ++order) {
    const Geometry g(9, order, false);
    EXPECT_EQ(g.refcount_bits(), 1u << order);
    EXPECT_EQ(g.refcount_block_entries() * g.refcount_bits(), 512u * 8);
  }
  EXPECT_EQ(Geometry(16, 0, false).refcount_max(), 1u);
  EXPECT_EQ(Geometry(16, 4, false).refcount_max(), 65535u);
  EXPECT_EQ(Geometry(16, 5, false).refcount_max(), 0xffffffffu);
  EXPECT_EQ(Geometry(16, 6, false).refcount_max(), ~std::uint64_t{0});
}

}  // namespace
}  // namespace qcowkit::qcow2
