// Damaged refcounts and refcount blocks, and feature bits that say that something is wrong.
#include "tests/formats/qcow2/check_damage_parts.h"

namespace qcowkit::qcow2::test {

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

}  // namespace qcowkit::qcow2::test
