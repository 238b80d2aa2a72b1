#include "formats/qcow2/describe.h"

#include "formats/qcow2/bitmap_directory.h"
#include "formats/qcow2/snapshot_table.h"

namespace qcowkit::qcow2 {

namespace {

BitmapInfo describe_bitmap(const BitmapEntry& entry) {
  return {
      .name = entry.name,
      .granularity_bytes = entry.granularity_bytes(),
      .in_use = entry.in_use,
      .automatic = entry.automatic,
  };
}

}  // namespace

SnapshotInfo describe_snapshot(const SnapshotEntry& entry) {
  return {
      .id = entry.id,
      .name = entry.name,
      .vm_state_size_bytes = entry.vm_state_size_bytes,
      .date_seconds = entry.date_seconds,
      .date_nanoseconds = entry.date_nanoseconds,
      .vm_clock_nanoseconds = entry.vm_clock_nanoseconds,
      .icount = entry.icount,
      .disk_size_bytes = entry.disk_size_bytes,
  };
}

void describe(const Header& header, Storage& storage, ImageInfo& info) {
  info.virtual_size_bytes = header.size;
  info.cluster_size_bytes = header.geometry().cluster_size();
  info.dirty = header.has(incompatible::kDirty);
  info.encrypted = header.crypt_method != 0;
  info.backing_file = header.backing_file;
  info.backing_format = header.backing_format.value_or("");

  ImageInfo::Qcow2 specific;
  specific.version = header.version;
  specific.compression = header.compression_type;
  specific.lazy_refcounts = header.lazy_refcounts();
  specific.refcount_bits = header.geometry().refcount_bits();
  specific.corrupt = header.has(incompatible::kCorrupt);
  specific.extended_l2 = header.has(incompatible::kExtendedL2);
  if (header.has(incompatible::kDataFile)) specific.data_file = header.data_file.value_or("");
  specific.data_file_raw = header.data_file_raw();
  // A snapshot whose tables are damaged is still told of: nothing is followed here.
  for (const SnapshotEntry& entry : read_snapshot_table(storage, header, true).entries) {
    specific.snapshots.push_back(describe_snapshot(entry));
  }
  for (const BitmapEntry& entry : read_bitmap_directory(storage, header)) {
    specific.bitmaps.push_back(describe_bitmap(entry));
  }
  info.qcow2 = std::move(specific);
}

}  // namespace qcowkit::qcow2
