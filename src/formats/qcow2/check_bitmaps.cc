// Bitmaps in a check: the directory, the tables and the data that they refer to.
#include "formats/qcow2/bitmap_directory.h"
#include "formats/qcow2/check_walk.h"

namespace qcowkit::qcow2 {

namespace {

void walk_bitmap(References& references, const BitmapEntry& bitmap, std::uint64_t& bytes_left) {
  CheckContext& context = references.context;
  const std::uint64_t bytes = std::uint64_t{bitmap.table_entries} * 8;
  if (!references.add_region(bitmap.table_offset.value, bytes, 1, claim::kNone)) return;
  if (bytes > bytes_left) {
    references.corruption(1, "ERROR table of bitmap '{}' overlaps others: not looked into",
                          bitmap.name);
    references.incomplete = true;
    return;
  }
  bytes_left -= bytes;
  try {
    for (const BitmapTableEntry entry :
         read_bitmap_table(context.storage, bitmap, context.geometry)) {
      if (!entry.has_cluster()) continue;
      references.add_region(entry.host_offset().value, context.geometry.cluster_size(), 1,
                            claim::kNone);
    }
  } catch (const Error& error) {
    references.unreadable(error);
  }
}

}  // namespace

void collect_bitmaps(References& references) {
  CheckContext& context = references.context;
  if (!context.header.bitmaps) return;
  const BitmapsExtension& extension = *context.header.bitmaps;
  if (!references.add_region(extension.bitmap_directory_offset.value,
                             extension.bitmap_directory_size, 1, claim::kNone)) {
    references.incomplete = true;
    return;
  }
  // Tables that do not overlap fit into the file. What is more was made to keep a check busy.
  std::uint64_t bytes_left = context.file_bytes;
  try {
    for (const BitmapEntry& bitmap : read_bitmap_directory(context.storage, context.header)) {
      context.poll(kWalkStage, 1.0);
      walk_bitmap(references, bitmap, bytes_left);
    }
  } catch (const Error& error) {
    if (error.code() == Errc::cancelled) throw;
    references.unreadable(error);
  }
}

}  // namespace qcowkit::qcow2
