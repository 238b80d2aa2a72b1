#include "formats/qcow1/l2_entry.h"

#include <gtest/gtest.h>

namespace qcowkit::qcow1 {
namespace {

using Kind = L2Mapping::Kind;

constexpr Geometry kUsual(12, 9);
constexpr Geometry kLargest(16, 13);

TEST(Qcow1L2Entry, ZeroIsUnallocated) {
  EXPECT_EQ(L2Mapping::decode(0, kUsual).kind, Kind::unallocated);
}

TEST(Qcow1L2Entry, OffsetIsACluster) {
  const L2Mapping mapping = L2Mapping::decode(0x123000, kUsual);
  EXPECT_EQ(mapping.kind, Kind::data);
  EXPECT_EQ(mapping.host_offset.value, 0x123000u);
}

TEST(Qcow1L2Entry, ClusterIsMadeOfWholeSectorsBelowTheFilesEnd) {
  EXPECT_EQ(L2Mapping::decode(0x123200, kUsual).kind, Kind::data);
  EXPECT_EQ(L2Mapping::decode(0x123001, kUsual).kind, Kind::invalid);
  const std::uint64_t last = kFileEnd - kUsual.cluster_size();
  EXPECT_EQ(L2Mapping::decode(last, kUsual).kind, Kind::data);
  EXPECT_EQ(L2Mapping::decode(last + 512, kUsual).kind, Kind::invalid);
}

TEST(Qcow1L2Entry, CompressedEntryOfTheReferenceIsUnderstood) {
  // As `qemu-io -c "write -c -P 9 64k 4k"` leaves it.
  const L2Mapping mapping = L2Mapping::decode(0x80a8000000008000, kUsual);
  EXPECT_EQ(mapping.kind, Kind::compressed);
  EXPECT_EQ(mapping.host_offset.value, 0x8000u);
  EXPECT_EQ(mapping.compressed_bytes, 21u);
}

TEST(Qcow1L2Entry, CompressedWithoutLengthIsInvalid) {
  EXPECT_EQ(L2Mapping::decode(L2Mapping::kCompressed | 0x8000, kUsual).kind, Kind::invalid);
}

TEST(Qcow1L2Entry, CompressedEntryKeepsOffsetAndLengthAtTheirLimits) {
  for (const Geometry& g : {Geometry(9, 12), kUsual, kLargest}) {
    const HostOffset last{L2Mapping::compressed_offset_end(g) - 1};
    for (const HostOffset at : {HostOffset{1}, last}) {
      for (const std::uint64_t bytes : {std::uint64_t{1}, g.cluster_size() - 1}) {
        const std::uint64_t raw = L2Mapping::encode_compressed(at, bytes, g);
        const L2Mapping mapping = L2Mapping::decode(raw, g);
        EXPECT_EQ(mapping.kind, Kind::compressed);
        EXPECT_EQ(mapping.host_offset, at);
        EXPECT_EQ(mapping.compressed_bytes, bytes);
      }
    }
  }
}

TEST(Qcow1Geometry, IndicesFollowFromTheBits) {
  constexpr Geometry g(9, 12);
  EXPECT_EQ(g.cluster_size(), 512u);
  EXPECT_EQ(g.l2_table_bytes(), 32768u);
  EXPECT_EQ(g.l1_entry_covers(), 2u << 20);
  const GuestOffset o{(2u << 20) * 5 + 512 * 7 + 3};
  EXPECT_EQ(g.l1_index(o), 5u);
  EXPECT_EQ(g.l2_index(o), 7u);
  EXPECT_EQ(g.in_cluster(o.value), 3u);
}

TEST(Qcow1Geometry, L1TableCoversTheWholeDisk) {
  EXPECT_EQ(kUsual.l1_entries_for(1), 1u);
  EXPECT_EQ(kUsual.l1_entries_for(2 << 20), 1u);
  EXPECT_EQ(kUsual.l1_entries_for((2 << 20) + 1), 2u);
}

}  // namespace
}  // namespace qcowkit::qcow1
