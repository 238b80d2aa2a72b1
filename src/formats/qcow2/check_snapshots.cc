// Snapshots in a check: what their L1 tables lead to, and completing their table.
#include <algorithm>
#include <map>
#include <span>
#include <utility>

#include "formats/qcow2/check_repair.h"
#include "formats/qcow2/check_walk.h"
#include "formats/qcow2/l1_entry.h"
#include "formats/qcow2/limits.h"
#include "formats/qcow2/snapshot_table.h"

namespace qcowkit::qcow2 {

namespace {

bool is_incomplete(const SnapshotEntry& entry, const Header& header) noexcept {
  return header.version >= 3 && entry.extra_data_bytes < kSnapshotExtraDataBytesVersion3;
}

/// True if the L1 table is at a place where one can be.
bool has_l1_table(References& references, const SnapshotEntry& entry) {
  if (std::uint64_t{entry.l1_size} * 8 > kL1TableBytesMax) {
    references.corruption(1,
                          "ERROR snapshot {} ({}) l1_size={:#x}: L1 table is too large; snapshot "
                          "table entry corrupted",
                          entry.id, entry.name, entry.l1_size);
    return false;
  }
  const std::uint64_t host_offset = entry.l1_table_offset.value;
  if (references.context.geometry.in_cluster(host_offset) != 0 ||
      (host_offset == 0 && entry.l1_size != 0)) {
    references.corruption(
        1,
        "ERROR snapshot {} ({}) l1_offset={:#x}: L1 table is not cluster aligned; "
        "snapshot table entry corrupted",
        entry.id, entry.name, host_offset);
    return false;
  }
  return entry.l1_size != 0;
}

/// The snapshots' L1 tables, each once, and how many snapshots have it.
using L1Tables = std::map<std::pair<std::uint64_t, std::uint32_t>, std::uint32_t>;

/// Tables that do not overlap fit into the file. What is more was made to keep a check busy.
void walk_l1_tables(References& references, const L1Tables& l1_tables, InactiveTables& tables) {
  std::uint64_t bytes_left = references.context.file_bytes + kL1TableBytesMax;
  for (const auto& [place, weight] : l1_tables) {
    const auto& [host_offset, entries] = place;
    const std::uint64_t bytes = std::uint64_t{entries} * 8;
    references.context.poll(kWalkStage, 0.0);
    references.add_region(host_offset, bytes, weight, claim::kNone);
    if (host_offset >= references.context.file_bytes) continue;
    if (bytes > bytes_left) {
      references.corruption(1, "ERROR L1 tables of snapshots overlap: not all are looked into");
      references.incomplete = true;
      return;
    }
    bytes_left -= bytes;
    for (const std::uint64_t raw : read_l1_table(references, {host_offset}, entries, weight)) {
      if (L1Entry(raw).has_table()) tables.add(L1Entry(raw).l2_table().value, weight);
    }
  }
}

}  // namespace

void collect_snapshots(References& references, InactiveTables& tables) {
  const Header& header = references.context.header;
  if (header.nb_snapshots == 0) return;
  SnapshotTable table;
  try {
    table = read_snapshot_table(references.context.storage, header, true);
  } catch (const Error& error) {
    references.unreadable(error);
    return;
  }
  L1Tables l1_tables;
  for (std::size_t i = 0; i < table.entries.size(); ++i) {
    const SnapshotEntry& entry = table.entries[i];
    if (is_incomplete(entry, header)) {
      references.corruption(1, "ERROR snapshot table entry {} is incomplete", i);
      ++references.incomplete_snapshots;
    }
    if (has_l1_table(references, entry)) {
      ++l1_tables[{entry.l1_table_offset.value, entry.l1_size}];
    }
  }
  references.add_region(header.snapshots_offset.value, table.size_bytes, 1, claim::kNone);
  walk_l1_tables(references, l1_tables, tables);
}

bool complete_snapshot_table(References& references, RefcountStructure& refcounts) {
  CheckContext& context = references.context;
  const Geometry& g = context.geometry;
  const SnapshotTable old = read_snapshot_table(context.storage, context.header, true);
  const std::vector<std::byte> table = encode_snapshot_table(old.entries);
  const std::uint64_t clusters = g.clusters_for(table.size());
  const std::uint64_t start = context.file_clusters;
  if (!context.storage.can_grow() || references.dangling.gap(start, clusters) != start ||
      !refcounts.set(start, clusters, 1)) {
    context.note("ERROR no room for a complete snapshot table");
    return false;
  }
  context.storage.flush();
  context.storage.write(start << g.cluster_bits(), table);
  context.storage.resize((start + clusters) << g.cluster_bits(), Preallocation::off);
  context.storage.flush();
  const std::uint64_t old_start = context.header.snapshots_offset.value >> g.cluster_bits();
  write_snapshots_offset(context, {start << g.cluster_bits()});
  // The old table's clusters, where it was alone in them.
  for (std::uint64_t i = 0; i < g.clusters_for(old.size_bytes); ++i) {
    if (references.counts.count(old_start + i) == 1) refcounts.set(old_start + i, 1, 0);
  }
  context.storage.flush();
  for (std::size_t i = 0; i < old.entries.size(); ++i) {
    if (is_incomplete(old.entries[i], context.header)) {
      context.note("Repairing snapshot table entry {} is incomplete", i);
    }
  }
  return true;
}

}  // namespace qcowkit::qcow2
