// Internal snapshots: making, applying and deleting them (qcow2 spec, Snapshots).
#pragma once

#include <vector>

#include "formats/qcow2/cluster_tree.h"
#include "formats/qcow2/metadata.h"
#include "formats/qcow2/snapshot_table.h"
#include "qcowkit/options.h"

namespace qcowkit::qcow2 {

/// The entry that is meant. Throws `Error` (invalid_argument) if there is none.
const SnapshotEntry& find_snapshot(const std::vector<SnapshotEntry>& entries,
                                   const SnapshotSelector& which);

/// The id that the next snapshot gets: one more than the largest number so far.
std::string next_snapshot_id(const std::vector<SnapshotEntry>& entries);

/// The header of the disk as the snapshot holds it. For reading only. Throws `Error`:
/// invalid_argument if there is no such snapshot, corrupt.
Header header_of_snapshot(const Header& header, Storage& storage, const SnapshotSelector& which);

/// Changes of an image's snapshots. While one is under way, nobody else changes the image, and
/// before it everything has been flushed. A crash leaves the snapshots as they were before, or as
/// they are afterwards, with leaked clusters at worst; in version 2 images, COPIED flags may be
/// missing, too.
class Snapshots {
 public:
  explicit Snapshots(Metadata& metadata);

  const std::vector<SnapshotEntry>& entries() const noexcept { return table_.entries; }

  /// Keeps the disk's content. `entry` tells everything but where its L1 table lies. If it has a VM
  /// state, that leaves the active image with it. Throws `Error`: limit_exceeded, corrupt.
  void create(SnapshotEntry entry);
  /// Makes the disk what it was, also its size.
  void apply(const SnapshotEntry& entry);
  /// `entry` is one of `entries()`.
  void remove(const SnapshotEntry& entry);
  /// Writes all entries anew, with all the extra data that version 3 asks for.
  void rewrite();

 private:
  std::vector<std::uint64_t> l1_table_of(const SnapshotEntry& entry);
  void share_or_restore(ClusterTree& tree, std::vector<std::uint64_t>& l1_table,
                        std::uint64_t entries);
  HostOffset write_table(const std::vector<SnapshotEntry>& entries);
  void free_table(const Header& old_header);

  Metadata& metadata_;
  SnapshotTable table_;
};

}  // namespace qcowkit::qcow2
