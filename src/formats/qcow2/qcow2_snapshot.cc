// Internal snapshots of an open image.
#include <chrono>

#include "formats/qcow2/describe.h"
#include "formats/qcow2/qcow2_layer.h"
#include "formats/qcow2/snapshots.h"

namespace qcowkit::qcow2 {

namespace {

SnapshotEntry described(const Image::NewSnapshot& snapshot) {
  SnapshotEntry entry;
  entry.id = snapshot.id;
  entry.name = snapshot.name;
  entry.date_seconds = snapshot.date_seconds.value_or(0);
  entry.date_nanoseconds = snapshot.date_nanoseconds;
  entry.vm_clock_nanoseconds = snapshot.vm_clock_nanoseconds;
  entry.vm_state_size_bytes = snapshot.vm_state_size_bytes;
  entry.icount = snapshot.icount;
  if (!snapshot.date_seconds) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now);
    entry.date_seconds = static_cast<std::uint32_t>(seconds.count());
    entry.date_nanoseconds = static_cast<std::uint32_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(now - seconds).count());
  }
  return entry;
}

}  // namespace

std::vector<SnapshotInfo> Qcow2Layer::snapshots() const {
  const RequestGate::Shared inside(gate_);
  std::vector<SnapshotInfo> told;
  for (const SnapshotEntry& entry : read_snapshot_table(*storage_, metadata_.header()).entries) {
    told.push_back(describe_snapshot(entry));
  }
  return told;
}

SnapshotInfo Qcow2Layer::create_snapshot(const Image::NewSnapshot& snapshot) {
  if (uses_data_file()) {
    throw Error(Errc::unsupported, "an image with an external data file has no internal snapshots");
  }
  SnapshotInfo told;
  change_alone([&] {
    Snapshots snapshots(metadata_);
    SnapshotEntry entry = described(snapshot);
    if (entry.id.empty()) entry.id = next_snapshot_id(snapshots.entries());
    snapshots.create(std::move(entry));
    told = describe_snapshot(snapshots.entries().back());
  });
  return told;
}

void Qcow2Layer::apply_snapshot(const SnapshotSelector& which) {
  change_alone([&] {
    Snapshots snapshots(metadata_);
    const SnapshotEntry& entry = find_snapshot(snapshots.entries(), which);
    bitmaps_.before_resize(entry.disk_size_bytes);
    bitmaps_.note({0}, virtual_size());
    snapshots.apply(entry);
    virtual_size_ = metadata_.header().size;
    bitmaps_.resize(virtual_size());
    bitmaps_.note({0}, virtual_size());
  });
}

void Qcow2Layer::delete_snapshot(const SnapshotSelector& which) {
  change_alone([&] {
    Snapshots snapshots(metadata_);
    snapshots.remove(find_snapshot(snapshots.entries(), which));
  });
}

}  // namespace qcowkit::qcow2
