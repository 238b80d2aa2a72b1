// The bits of an L1 entry.
#include "formats/qcow2/l1_entry.h"

#include <gtest/gtest.h>

namespace qcowkit::qcow2 {
namespace {

constexpr Geometry kGeometry(16, 4, false);

TEST(L1Entry, ZeroHasNoTable) {
  constexpr L1Entry entry;
  EXPECT_FALSE(entry.has_table() || entry.copied() || entry.has_reserved_bits());
  EXPECT_TRUE(entry.is_aligned_to(kGeometry));
}

TEST(L1Entry, TableAndFlagAreKept) {
  for (const bool copied : {false, true}) {
    const L1Entry entry = L1Entry::table({5 << 16}, copied);
    EXPECT_EQ(entry.raw(), 5u << 16 | (copied ? 1ull << 63 : 0));
    EXPECT_EQ(L1Entry(entry.raw()).l2_table().value, 5u << 16);
    EXPECT_EQ(entry.copied(), copied);
    EXPECT_TRUE(entry.has_table() && entry.is_aligned_to(kGeometry));
    EXPECT_FALSE(entry.has_reserved_bits());
  }
}

TEST(L1Entry, EveryBitIsOffsetFlagOrReserved) {
  for (std::uint32_t bit = 0; bit < 64; ++bit) {
    const L1Entry entry(std::uint64_t{1} << bit);
    EXPECT_EQ(entry.has_table(), bit >= 9 && bit <= 55) << bit;
    EXPECT_EQ(entry.copied(), bit == 63) << bit;
    EXPECT_EQ(entry.has_reserved_bits(), bit < 9 || (bit >= 56 && bit < 63)) << bit;
    EXPECT_EQ(entry.is_aligned_to(kGeometry), bit < 9 || bit >= 16) << bit;
  }
}

TEST(L1Entry, CopiedWithoutTableHasNoTable) { EXPECT_FALSE(L1Entry(L1Entry::kCopied).has_table()); }

}  // namespace
}  // namespace qcowkit::qcow2
