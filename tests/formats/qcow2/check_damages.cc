#include "tests/formats/qcow2/check_damages.h"

#include "formats/qcow2/l1_entry.h"
#include "formats/qcow2/l2_entry.h"

namespace qcowkit::qcow2::test {

namespace {

constexpr std::uint64_t kCopied = RawL2Entry::kCopied;
constexpr std::uint64_t kZero = RawL2Entry::kZero;
constexpr std::uint64_t kFar = std::uint64_t{1} << 40;  // far behind every test image's end
constexpr ImageShape kVersion2{.version = 2};
constexpr ImageShape kExtended{.cluster_bits = 14, .extended_l2 = true};
constexpr ImageShape kDataFile{.data_file = true};
constexpr ImageShape kOneBit{.refcount_order = 0};
constexpr ImageShape kTwoBits{.refcount_order = 1};
constexpr ImageShape kWide{.refcount_order = 6};

/// Guest clusters 0 to 9 and 70 to 73, in two L2 tables (with 512-byte clusters).
SmallImage plain_image(const ImageShape& shape = {}) {
  SmallImage image(shape);
  for (std::uint64_t i = 0; i < 10; ++i) image.map(i);
  for (std::uint64_t i = 70; i < 74; ++i) image.map(i);
  image.finish();
  return image;
}

/// The same with a snapshot between clusters 4 and 5 on the one hand and the rest on the other.
SmallImage snapshot_image(const ImageShape& shape = {}) {
  SmallImage image(shape);
  for (std::uint64_t i = 0; i < 10; ++i) image.map(i);
  image.take_snapshot();
  image.map(4);
  image.map(5);
  image.finish();
  return image;
}

SmallImage shared_table_image(const ImageShape& shape = {}) {
  SmallImage image(shape);
  for (std::uint64_t i = 0; i < 10; ++i) image.map(i);
  image.take_snapshot();
  image.finish();
  return image;
}

SmallImage compressed_image(const ImageShape& shape = {}) {
  SmallImage image(shape);
  image.map(0);
  image.map_compressed(1);
  image.map_compressed(2);
  image.map(3);
  image.finish();
  return image;
}

using Change = void (*)(SmallImage&);

std::function<SmallImage()> damaged(SmallImage (*make)(const ImageShape&), const ImageShape& shape,
                                    Change change) {
  return [=] {
    SmallImage image = make(shape);
    change(image);
    return image;
  };
}

std::function<SmallImage()> damaged(Change change) { return damaged(plain_image, {}, change); }
std::function<SmallImage()> with_snapshot(Change change) {
  return damaged(snapshot_image, {}, change);
}

void add_refcount_damages(std::vector<Damage>& all) {
  all.push_back({"RefcountZeroOfUsedCluster",
                 damaged([](SmallImage& i) { i.set_refcount(i.cluster_of(i.data(2)), 0); }),
                 "refcount=0 reference=1",
                 {2, 0, 0},
                 {2, 0, 0},
                 {}});
  all.push_back({"RefcountZeroOfL1Table",
                 damaged([](SmallImage& i) { i.set_refcount(i.cluster_of(i.l1_offset), 0); }),
                 "ERROR cluster 4 refcount=0 reference=1",
                 {1, 0, 0},
                 {1, 0, 0},
                 {}});
  all.push_back({"RefcountTooHigh",
                 damaged([](SmallImage& i) { i.set_refcount(i.cluster_of(i.data(2)), 2); }),
                 "refcount=2 reference=1",
                 {1, 1, 0},
                 {},
                 {}});
  all.push_back({"RefcountTooLowOfSharedCluster",
                 with_snapshot([](SmallImage& i) { i.set_refcount(i.cluster_of(i.data(2)), 1); }),
                 "refcount=1 reference=2",
                 {2, 0, 0},
                 {2, 0, 0},
                 {}});
  all.push_back({"RefcountTooHighOfSharedCluster",
                 with_snapshot([](SmallImage& i) { i.set_refcount(i.cluster_of(i.data(2)), 9); }),
                 "refcount=9 reference=2",
                 {0, 1, 0},
                 {},
                 {}});
  all.push_back(
      {"RefcountHugeInWideBlock",
       damaged(plain_image, kWide,
               [](SmallImage& i) { i.set_refcount(i.cluster_of(i.data(2)), ~std::uint64_t{0}); }),
       "refcount=18446744073709551615",
       {1, 1, 0},
       {},
       {}});
  all.push_back({"LeakedClusters",
                 damaged([](SmallImage& i) {
                   const std::uint64_t first = i.cluster_of(i.end());
                   i.lengthen(5);
                   i.set_refcount(first + 1, 1);
                   i.set_refcount(first + 2, 3);
                   i.set_refcount(first + 4, 1);
                 }),
                 "Leaked cluster",
                 {0, 3, 0},
                 {},
                 {}});
  all.push_back({"RefcountBehindTheEndIsNoLeak",
                 damaged([](SmallImage& i) { i.set_refcount(i.cluster_of(i.end()) + 3, 1); }),
                 "",
                 {},
                 {},
                 {}});
  all.push_back({"LeakedL2Table",
                 damaged([](SmallImage& i) { i.set64(i.l1_entry(1), 0); }),
                 "Leaked cluster",
                 {0, 5, 0},
                 {},
                 {}});
}

void add_refcount_block_damages(std::vector<Damage>& all) {
  all.push_back({"RefcountBlockMissing",
                 damaged([](SmallImage& i) { i.set64(i.refcount_table_offset, 0); }),
                 "refcount=0 reference=1",
                 {36, 0, 0},
                 {36, 0, 0},
                 {}});
  all.push_back({"RefcountBlockUnaligned",
                 damaged(plain_image, ImageShape{.cluster_bits = 12},
                         [](SmallImage& i) { i.flip(i.refcount_table_offset, 0x200); }),
                 "ERROR refcount block 0 is not cluster aligned",
                 {1, 0, 20},
                 {1, 0, 20},
                 {}});
  all.push_back({"RefcountBlockBehindTheEnd",
                 damaged([](SmallImage& i) { i.set64(i.refcount_table_offset + 8, kFar); }),
                 "ERROR refcount block 1 is outside image",
                 {1, 1, 0},
                 {1, 1, 0},
                 {}});
  all.push_back({"RefcountBlockInUseBehindTheEnd",
                 damaged([](SmallImage& i) { i.set64(i.refcount_table_offset, kFar); }),
                 "ERROR refcount block 0 is outside image",
                 {37, 0, 0},
                 {37, 0, 0},
                 {}});
  all.push_back(
      {"RefcountBlockTwice",
       damaged([](SmallImage& i) { i.set64(i.refcount_table_offset + 8, i.refcount_block(0)); }),
       "ERROR refcount block 1 refcount=2",
       {2, 1, 0},
       {2, 1, 0},
       {}});
  all.push_back({"RefcountBlockIsL1Table",
                 damaged([](SmallImage& i) { i.set64(i.refcount_table_offset + 8, i.l1_offset); }),
                 "ERROR refcount block 1 refcount=2",
                 {2, 1, 0},
                 {2, 1, 0},
                 {}});
  all.push_back({"RefcountBlockIsData",
                 damaged([](SmallImage& i) { i.set64(i.refcount_table_offset + 8, i.data(3)); }),
                 "ERROR refcount block 1 refcount=2",
                 {2, 1, 0},
                 {2, 1, 0},
                 {}});
  all.push_back({"RefcountTableEntryWithReservedBits",
                 damaged([](SmallImage& i) { i.flip(i.refcount_table_offset + 8, 1); }),
                 "ERROR refcount table entry 1 has reserved bits set",
                 {1, 1, 0},
                 {1, 1, 0},
                 {}});
  all.push_back({"RefcountTableEntryPointsToHeader",
                 damaged([](SmallImage& i) { i.set64(i.refcount_table_offset + 8, 0x1ff); }),
                 "ERROR refcount table entry 1 has reserved bits set",
                 {1, 1, 0},
                 {1, 1, 0},
                 {}});
  all.push_back({"RefcountTableBehindTheEnd",
                 damaged([](SmallImage& i) { i.set64(48, kFar); }),
                 "counting reference for region exceeding the end of the file",
                 {35, 0, 0},
                 {35, 0, 0},
                 {}});
  all.push_back({"RefcountTableEmpty",
                 damaged([](SmallImage& i) { i.set32(56, 0); }),
                 "refcount=0 reference=1",
                 {34, 0, 0},
                 {34, 0, 0},
                 {}});
}

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

void add_snapshot_damages(std::vector<Damage>& all) {
  // Offsets into the table are those of fields of its first entry (qcow2 spec, Snapshots).
  // Without the snapshot 8 clusters of the active layer have a refcount of 1; as the reference
  // does, repair of leaks leaves the flags, which then are wrong, alone while there is corruption.
  all.push_back({"SnapshotL1TableUnaligned",
                 with_snapshot([](SmallImage& i) { i.flip(i.snapshots_offset, 8); }),
                 "L1 table is not cluster aligned; snapshot table entry corrupted",
                 {1, 12, 0},
                 {9, 0, 0},
                 {1, 0, 0}});
  all.push_back({"SnapshotL1TableTooLarge",
                 with_snapshot([](SmallImage& i) { i.set32(i.snapshots_offset + 8, 0x400001); }),
                 "L1 table is too large; snapshot table entry corrupted",
                 {1, 12, 0},
                 {9, 0, 0},
                 {1, 0, 0}});
  all.push_back({"SnapshotL1TableBehindTheEnd",
                 with_snapshot([](SmallImage& i) { i.set64(i.snapshots_offset, kFar); }),
                 "counting reference for region exceeding the end of the file",
                 {1, 12, 0},
                 {9, 0, 0},
                 {1, 0, 0}});
  all.push_back({"SnapshotL1TableInHeader",
                 with_snapshot([](SmallImage& i) { i.set64(i.snapshots_offset, 0); }),
                 "L1 table is not cluster aligned; snapshot table entry corrupted",
                 {1, 12, 0},
                 {9, 0, 0},
                 {1, 0, 0},
                 false});
  all.push_back({"SnapshotL1EntryBehindTheEnd",
                 with_snapshot([](SmallImage& i) { i.set64(i.snapshot_l1_offsets[0], kFar); }),
                 "counting reference for region exceeding the end of the file",
                 {1, 11, 0},
                 {9, 0, 0},
                 {1, 0, 0}});
  all.push_back({"SnapshotL1EntryWithReservedBits",
                 with_snapshot([](SmallImage& i) { i.flip(i.snapshot_l1_offsets[0], 1); }),
                 "ERROR found L1 entry with reserved bits set",
                 {1, 0, 0},
                 {1, 0, 0},
                 {1, 0, 0}});
  all.push_back({"SnapshotEntryIncomplete",
                 with_snapshot([](SmallImage& i) {
                   // 8 bytes of extra data; id and name follow.
                   i.set32(i.snapshots_offset + 36, 8);
                   i.set64(i.snapshots_offset + 48, i.get64(i.snapshots_offset + 56));
                 }),
                 "ERROR snapshot table entry 0 is incomplete",
                 {1, 0, 0},
                 {1, 0, 0},
                 {}});
  all.push_back({"SnapshotTableBehindTheEnd",
                 with_snapshot([](SmallImage& i) { i.set64(64, kFar); }),
                 "snapshot table",
                 {1, 13, 0},
                 {1, 13, 0},
                 {1, 13, 0},
                 false});
  all.push_back({"SnapshotEntryWithTooMuchExtraData",
                 with_snapshot([](SmallImage& i) { i.set32(i.snapshots_offset + 36, 4096); }),
                 "snapshot table",
                 {1, 13, 0},
                 {1, 13, 0},
                 {1, 13, 0},
                 false});
  all.push_back({"SnapshotsMoreThanTheTableHolds",
                 with_snapshot([](SmallImage& i) { i.set32(60, 100); }),
                 "snapshot table",
                 {1, 13, 0},
                 {1, 13, 0},
                 {1, 13, 0},
                 false});
}

SmallImage bitmap_image(const ImageShape& shape) {
  SmallImage image(shape);
  for (std::uint64_t i = 0; i < 4; ++i) image.map(i);
  image.add_bitmap();
  image.add_encryption_header();
  image.finish();
  return image;
}

void add_bitmap_and_encryption_damages(std::vector<Damage>& all) {
  const auto with_bitmap = [](Change change) { return damaged(bitmap_image, {}, change); };
  all.push_back({"BitmapTableBehindTheEnd",
                 with_bitmap([](SmallImage& i) { i.set64(i.bitmap_directory_offset, kFar); }),
                 "counting reference for region exceeding the end of the file",
                 {1, 2, 0},
                 {1, 0, 0},
                 {1, 0, 0},
                 false});
  all.push_back({"BitmapTableUnaligned",
                 with_bitmap([](SmallImage& i) { i.flip(i.bitmap_directory_offset, 8); }),
                 "bitmap directory: entry 0: bitmap_table_offset",
                 {1, 2, 0},
                 {1, 2, 0},
                 {1, 2, 0},
                 false});
  all.push_back({"BitmapDataBehindTheEnd",
                 with_bitmap([](SmallImage& i) { i.set64(i.bitmap_table_offset, kFar); }),
                 "counting reference for region exceeding the end of the file",
                 {1, 1, 0},
                 {1, 0, 0},
                 {1, 0, 0},
                 false});
  all.push_back({"BitmapDataUnaligned",
                 with_bitmap([](SmallImage& i) { i.flip(i.bitmap_table_offset, 4); }),
                 "table of bitmap 'bits': entry 0",
                 {1, 1, 0},
                 {1, 1, 0},
                 {1, 1, 0},
                 false});
  all.push_back({"BitmapDataIsGuestData",
                 with_bitmap([](SmallImage& i) { i.set64(i.bitmap_table_offset, i.data(1)); }),
                 "refcount=1 reference=2",
                 {1, 1, 0},
                 {1, 0, 0},
                 {},
                 false});
  all.push_back({"BitmapsWithoutTheirAutoclearBit",
                 with_bitmap([](SmallImage& i) { i.set64(88, 0); }),
                 "Leaked cluster",
                 {0, 3, 0},
                 {},
                 {},
                 false});
  all.push_back({"EncryptionHeaderLeaked",
                 with_bitmap([](SmallImage& i) {
                   i.set_refcount(i.cluster_of(i.encryption_offset) + 1, 0);
                   i.set_refcount(i.cluster_of(i.encryption_offset) + 2, 2);
                 }),
                 "refcount=0 reference=1",
                 {1, 1, 0},
                 {1, 0, 0},
                 {},
                 false});
}

void add_feature_bits(std::vector<Damage>& all) {
  all.push_back({"DirtyBitAlone",
                 damaged([](SmallImage& i) { i.set64(72, incompatible::kDirty); }),
                 "",
                 {},
                 {},
                 {}});
  all.push_back({"CorruptBitAlone",
                 damaged([](SmallImage& i) { i.set64(72, incompatible::kCorrupt); }),
                 "",
                 {},
                 {},
                 {}});
  all.push_back({"DirtyWithRefcountsBehind",
                 damaged([](SmallImage& i) {
                   i.set64(72, incompatible::kDirty);
                   for (std::uint64_t k = 70; k < 74; ++k) {
                     i.set_refcount(i.cluster_of(i.data(k)), 0);
                   }
                 }),
                 "refcount=0 reference=1",
                 {8, 0, 0},
                 {8, 0, 0},
                 {}});
}

}  // namespace

SmallImage rich_image(const ImageShape& shape) {
  SmallImage image(shape);
  for (std::uint64_t i = 0; i < 6; ++i) image.map(i);
  image.map_zero(8);
  if (shape.version >= 3) image.map_plain_zero(9);
  if (!shape.data_file) {
    image.map_compressed(10);
    if (shape.refcount_order > 1) {  // they share a cluster
      image.map_compressed(11);
      image.map_compressed(12);
    }
    if (shape.refcount_order > 3) {
      image.take_snapshot();
      image.map(2);
      image.map(70);
      image.take_snapshot();
      image.map(71);
      image.map(9);
    }
  }
  if (shape.version >= 3) {
    image.add_bitmap();
    image.add_encryption_header();
  }
  image.finish();
  return image;
}

const std::vector<Damage>& damages() {
  static const std::vector<Damage> all = [] {
    std::vector<Damage> list;
    add_refcount_damages(list);
    add_refcount_block_damages(list);
    add_l1_damages(list);
    add_l2_damages(list);
    add_compressed_and_extended_damages(list);
    add_snapshot_damages(list);
    add_bitmap_and_encryption_damages(list);
    add_feature_bits(list);
    return list;
  }();
  return all;
}

}  // namespace qcowkit::qcow2::test
