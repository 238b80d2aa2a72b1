// Damaged snapshot tables, bitmaps and encryption headers.
#include "tests/formats/qcow2/check_damage_parts.h"

namespace qcowkit::qcow2::test {

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

}  // namespace qcowkit::qcow2::test
