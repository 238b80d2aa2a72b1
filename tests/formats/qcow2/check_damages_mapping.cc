// Damaged L1 and L2 tables, compressed clusters and extended L2 entries.
#include "formats/qcow2/l1_entry.h"
#include "formats/qcow2/l2_entry.h"
#include "tests/formats/qcow2/check_damage_parts.h"

namespace qcowkit::qcow2::test {

void add_l1_damages(std::vector<Damage>& all) {
  all.push_back({"L1EntryUnaligned",
                 damaged(plain_image, ImageShape{.cluster_bits = 12},
                         [](SmallImage& i) {
                           // The table's second half and the cluster behind it, which is made
                           // empty.
                           std::fill(i.bytes.begin() + static_cast<std::ptrdiff_t>(i.data(0)),
                                     i.bytes.begin() + static_cast<std::ptrdiff_t>(i.data(1)),
                                     std::byte{0});
                           i.flip(i.l1_entry(0), 0x800);
                         }),
                 "Table is not cluster aligned; L1 entry corrupted",
                 {1, 13, 0},
                 {1, 0, 0},
                 {1, 0, 0}});
  all.push_back({"L1EntryBehindTheEnd",
                 damaged([](SmallImage& i) { i.set64(i.l1_entry(1), kFar | kCopied); }),
                 "counting reference for region exceeding the end of the file",
                 {2, 5, 0},
                 {2, 0, 0},
                 {1, 0, 0}});
  all.push_back({"L1EntryWithReservedBits",
                 damaged([](SmallImage& i) { i.flip(i.l1_entry(1), 4); }),
                 "ERROR found L1 entry with reserved bits set",
                 {1, 0, 0},
                 {1, 0, 0},
                 {1, 0, 0}});
  all.push_back({"L1EntryWithoutTableButCopied",
                 damaged([](SmallImage& i) { i.set64(i.l1_entry(5), kCopied); }),
                 "ERROR found L1 entry without a table",
                 {1, 0, 0},
                 {1, 0, 0},
                 {1, 0, 0},
                 false});
  all.push_back({"L1EntryLacksCopied",
                 damaged([](SmallImage& i) { i.flip(i.l1_entry(1), kCopied); }),
                 "OFLAG_COPIED L2 cluster: l1_index=1",
                 {1, 0, 0},
                 {},
                 {}});
  all.push_back(
      {"L1EntryCopiedButShared",
       damaged(shared_table_image, {}, [](SmallImage& i) { i.flip(i.l1_entry(0), kCopied); }),
       "OFLAG_COPIED L2 cluster: l1_index=0",
       {1, 0, 0},
       {},
       {}});
  all.push_back({"L2TableSharedByTwoL1Entries",
                 damaged([](SmallImage& i) { i.set64(i.l1_entry(1), i.get64(i.l1_entry(0))); }),
                 "refcount=1 reference=2",
                 {11, 5, 0},
                 {11, 0, 0},
                 {}});
  all.push_back({"L1EntryPointsToL1Table",
                 damaged([](SmallImage& i) { i.set64(i.l1_entry(1), i.l1_offset | kCopied); }),
                 "refcount=1 reference=3",
                 {2, 5, 0},
                 {2, 0, 0},
                 {4, 0, 0}});
  all.push_back({"L1TableBehindTheEnd",
                 damaged([](SmallImage& i) { i.set64(40, kFar); }),
                 "counting reference for region exceeding the end of the file",
                 {1, 17, 0},
                 {1, 0, 0},
                 {1, 0, 0}});
}

void add_l2_damages(std::vector<Damage>& all) {
  all.push_back({"L2EntryUnaligned",
                 damaged(plain_image, ImageShape{.cluster_bits = 12},
                         [](SmallImage& i) { i.flip(i.l2_entry(3), 0x200); }),
                 "Data cluster is not properly aligned",
                 {2, 0, 0},
                 {2, 0, 0},
                 {1, 0, 0}});
  all.push_back({"L2EntryUnalignedPreallocation",
                 damaged(plain_image, ImageShape{.cluster_bits = 12},
                         [](SmallImage& i) { i.flip(i.l2_entry(3), 0x200 | kZero); }),
                 "Preallocated cluster is not properly aligned",
                 {2, 0, 0},
                 {2, 0, 0},
                 {}});
  all.push_back({"L2EntryUnalignedPreallocationInSnapshot",
                 damaged(snapshot_image, ImageShape{.cluster_bits = 12},
                         [](SmallImage& i) {
                           const std::uint64_t table =
                               i.get64(i.snapshot_l1_offsets[0]) & L1Entry::kOffsetMask;
                           i.flip(table + 3 * 8, 0x200 | kZero);
                         }),
                 "Preallocated cluster is not properly aligned",
                 {2, 0, 0},
                 {2, 0, 0},
                 {}});
  all.push_back({"L2EntryWithReservedBits",
                 damaged([](SmallImage& i) { i.flip(i.l2_entry(3), 2); }),
                 "ERROR found l2 entry with reserved bits set",
                 {1, 0, 0},
                 {1, 0, 0},
                 {1, 0, 0}});
  all.push_back({"L2EntryWithReservedBitsAbove",
                 damaged([](SmallImage& i) { i.flip(i.l2_entry(3), std::uint64_t{1} << 57); }),
                 "ERROR found l2 entry with reserved bits set",
                 {1, 0, 0},
                 {1, 0, 0},
                 {1, 0, 0}});
  all.push_back({"L2EntryBehindTheEnd",
                 damaged([](SmallImage& i) { i.set64(i.l2_entry(3), kFar | kCopied); }),
                 "counting reference for region exceeding the end of the file",
                 {2, 1, 0},
                 {2, 0, 0},
                 {1, 0, 0}});
  all.push_back({"L2EntryJustBehindTheEnd",
                 damaged([](SmallImage& i) { i.set64(i.l2_entry(3), i.end() | kCopied); }),
                 "counting reference for region exceeding the end of the file",
                 {2, 1, 0},
                 {2, 0, 0},
                 {1, 0, 0}});
  all.push_back({"L2EntryAtTheLastOffset",
                 damaged([](SmallImage& i) { i.set64(i.l2_entry(3), RawL2Entry::kOffsetMask); }),
                 "counting reference for region exceeding the end of the file",
                 {1, 1, 0},
                 {1, 0, 0},
                 {1, 0, 0}});
  all.push_back({"L2EntryLacksCopied",
                 damaged([](SmallImage& i) { i.flip(i.l2_entry(3), kCopied); }),
                 "OFLAG_COPIED data cluster",
                 {1, 0, 0},
                 {},
                 {}});
  all.push_back({"L2EntryCopiedButShared",
                 with_snapshot([](SmallImage& i) { i.flip(i.l2_entry(3), kCopied); }),
                 "OFLAG_COPIED data cluster",
                 {1, 0, 0},
                 {},
                 {}});
  all.push_back({"CopiedFlagInSnapshotMeansNothing",
                 with_snapshot([](SmallImage& i) {
                   const std::uint64_t table =
                       i.get64(i.snapshot_l1_offsets[0]) & L1Entry::kOffsetMask;
                   i.flip(i.snapshot_l1_offsets[0], kCopied);
                   i.flip(table + 3 * 8, kCopied);
                 }),
                 "",
                 {},
                 {},
                 {}});
  all.push_back({"ClusterSharedByTwoL2Entries",
                 damaged([](SmallImage& i) { i.set64(i.l2_entry(3), i.get64(i.l2_entry(2))); }),
                 "refcount=1 reference=2",
                 {1, 1, 0},
                 {1, 0, 0},
                 {}});
  all.push_back({"L2EntryPointsToL1Table",
                 damaged([](SmallImage& i) { i.set64(i.l2_entry(20), i.l1_offset | kCopied); }),
                 "refcount=1 reference=2",
                 {1, 0, 0},
                 {1, 0, 0},
                 {}});
  all.push_back(
      {"L2EntryPointsToRefcountTable",
       damaged([](SmallImage& i) { i.set64(i.l2_entry(20), i.refcount_table_offset | kCopied); }),
       "refcount=1 reference=2",
       {1, 0, 0},
       {1, 0, 0},
       {}});
  all.push_back(
      {"L2EntryPointsToRefcountBlock",
       damaged([](SmallImage& i) { i.set64(i.l2_entry(20), i.refcount_block(0) | kCopied); }),
       "ERROR refcount block 0 refcount=2",
       {2, 0, 0},
       {2, 0, 0},
       {}});
  all.push_back({"L2EntryPointsToItsL2Table",
                 damaged([](SmallImage& i) { i.set64(i.l2_entry(20), i.l2_table(0) | kCopied); }),
                 "refcount=1 reference=2",
                 {1, 0, 0},
                 {1, 0, 0},
                 {1, 0, 0}});
  all.push_back(
      {"ZeroFlagInVersion2IsLetBe",
       damaged(plain_image, kVersion2, [](SmallImage& i) { i.flip(i.l2_entry(3), kZero); }),
       "",
       {},
       {},
       {}});
}

void add_compressed_and_extended_damages(std::vector<Damage>& all) {
  all.push_back(
      {"CompressedClusterBehindTheEnd",
       damaged(compressed_image, {},
               [](SmallImage& i) { i.set64(i.l2_entry(1), RawL2Entry::kCompressed | kFar); }),
       "counting reference for region exceeding the end of the file",
       {1, 1, 0},
       {1, 0, 0},
       {1, 0, 0}});
  all.push_back({"CompressedClusterOverTheEnd",
                 damaged(compressed_image, ImageShape{.cluster_bits = 12},
                         [](SmallImage& i) {
                           i.set64(
                               i.l2_entry(1),
                               L2Mapping::encode_compressed({i.end() - 100}, 500, i.g).descriptor);
                         }),
                 "refcount=0 reference=1",
                 {2, 1, 0},
                 {2, 0, 0},
                 {}});
  all.push_back(
      {"CompressedClusterCopied",
       damaged(compressed_image, {}, [](SmallImage& i) { i.flip(i.l2_entry(1), kCopied); }),
       "copied flag must never be set for compressed clusters",
       {1, 0, 0},
       {1, 0, 0},
       {}});
  all.push_back({"CompressedClusterInHeader",
                 damaged(compressed_image, {},
                         [](SmallImage& i) { i.set64(i.l2_entry(1), RawL2Entry::kCompressed); }),
                 "ERROR cluster 0 refcount=1 reference=2",
                 {1, 1, 0},
                 {1, 0, 0},
                 {}});
  all.push_back(
      {"CompressedClusterWithDataFile",
       damaged(plain_image, kDataFile,
               [](SmallImage& i) { i.flip(i.l2_entry(3), RawL2Entry::kCompressed | kCopied); }),
       "with data file",
       {1, 0, 0},
       {1, 0, 0},
       {1, 0, 0}});
  all.push_back(
      {"DataFileClusterLacksCopied",
       damaged(plain_image, kDataFile, [](SmallImage& i) { i.flip(i.l2_entry(3), kCopied); }),
       "OFLAG_COPIED data cluster",
       {1, 0, 0},
       {},
       {}});
  all.push_back({"DataFileClusterUnaligned",
                 damaged(plain_image, ImageShape{.cluster_bits = 12, .data_file = true},
                         [](SmallImage& i) { i.flip(i.l2_entry(3), 0x200); }),
                 "Data cluster is not properly aligned",
                 {1, 0, 0},
                 {1, 0, 0},
                 {1, 0, 0}});
  all.push_back({"SubclusterAllocatedAndZero",
                 damaged(plain_image, kExtended,
                         [](SmallImage& i) { i.set64(i.l2_entry(3) + 8, 0x1ffffffff); }),
                 "corrupted subcluster allocation bitmap",
                 {1, 0, 0},
                 {1, 0, 0},
                 {1, 0, 0}});
  all.push_back(
      {"SubclusterAllocatedWithoutHostCluster",
       damaged(plain_image, kExtended, [](SmallImage& i) { i.set64(i.l2_entry(20) + 8, 1); }),
       "Unallocated cluster has non-zero subcluster allocation map",
       {1, 0, 0},
       {1, 0, 0},
       {1, 0, 0}});
  all.push_back(
      {"SubclusterBitmapOfCompressedCluster",
       damaged(compressed_image, kExtended, [](SmallImage& i) { i.set64(i.l2_entry(1) + 8, 4); }),
       "with non-zero subcluster allocation bitmap",
       {1, 1, 0},
       {1, 0, 0},
       {1, 0, 0}});
  all.push_back({"ExtendedPreallocationUnaligned",
                 damaged(plain_image, kExtended,
                         [](SmallImage& i) {
                           i.flip(i.l2_entry(3), 0x200);
                           i.set64(i.l2_entry(3) + 8, 0xff00000000);
                         }),
                 "Preallocated cluster is not properly aligned",
                 {2, 0, 0},
                 {2, 0, 0},
                 {}});
  all.push_back({"ReferencesOverflowOneBit",
                 damaged(plain_image, kOneBit,
                         [](SmallImage& i) { i.set64(i.l2_entry(3), i.get64(i.l2_entry(2))); }),
                 "overflow cluster offset",
                 {1, 1, 0},
                 {1, 0, 0},
                 {1, 0, 0}});
  all.push_back({"ReferencesOverflowTwoBits",
                 damaged(plain_image, kTwoBits,
                         [](SmallImage& i) {
                           for (std::uint64_t k = 3; k < 9; ++k) {
                             i.set64(i.l2_entry(k), i.get64(i.l2_entry(2)));
                           }
                         }),
                 "overflow cluster offset",
                 {5, 6, 0},
                 {5, 0, 0},
                 {4, 0, 0}});
}

}  // namespace qcowkit::qcow2::test
