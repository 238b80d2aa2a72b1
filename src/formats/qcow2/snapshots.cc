#include "formats/qcow2/snapshots.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "formats/qcow2/l1_table.h"
#include "formats/qcow2/limits.h"

namespace qcowkit::qcow2 {

const SnapshotEntry& find_snapshot(const std::vector<SnapshotEntry>& entries,
                                   const SnapshotSelector& which) {
  const auto by_id = [&](const SnapshotEntry& entry) { return entry.id == which.id; };
  const auto by_name = [&](const SnapshotEntry& entry) { return entry.name == which.name; };
  auto found = entries.end();
  if (which.either) {
    found = std::ranges::find_if(entries, by_id);
    if (found == entries.end()) found = std::ranges::find_if(entries, by_name);
  } else {
    found = std::ranges::find_if(entries, [&](const SnapshotEntry& entry) {
      return (which.id.empty() || by_id(entry)) && (which.name.empty() || by_name(entry));
    });
  }
  if (found == entries.end()) {
    throw Error(Errc::invalid_argument, fmt::format("there is no snapshot '{}'",
                                                    which.name.empty() ? which.id : which.name));
  }
  return *found;
}

Header header_of_snapshot(const Header& header, Storage& storage, const SnapshotSelector& which) {
  const SnapshotTable table = read_snapshot_table(storage, header);
  const SnapshotEntry& entry = find_snapshot(table.entries, which);
  Header view = header;
  view.l1_table_offset = entry.l1_table_offset;
  view.l1_size = entry.l1_size;
  view.size = entry.disk_size_bytes;
  return view;
}

std::string next_snapshot_id(const std::vector<SnapshotEntry>& entries) {
  std::uint64_t largest = 0;
  for (const SnapshotEntry& entry : entries) {
    std::uint64_t number = 0;
    std::from_chars(entry.id.data(), entry.id.data() + entry.id.size(), number);
    largest = std::max(largest, number);
  }
  return std::to_string(largest + 1);
}

Snapshots::Snapshots(Metadata& metadata)
    : metadata_(metadata), table_(read_snapshot_table(metadata.storage(), metadata.header())) {}

std::vector<std::uint64_t> Snapshots::l1_table_of(const SnapshotEntry& entry) {
  return load_l1_table(metadata_.storage(), entry.l1_table_offset, entry.l1_size);
}

/// Writes a table of these entries; with none, there is no table.
HostOffset Snapshots::write_table(const std::vector<SnapshotEntry>& entries) {
  const std::vector<std::byte> bytes = encode_snapshot_table(entries);
  return bytes.empty() ? HostOffset{} : metadata_.write_table(bytes);
}

void Snapshots::free_table(const Header& old_header) {
  if (table_.size_bytes != 0) {
    metadata_.defer_free(old_header.snapshots_offset, table_.size_bytes, FreedBy::snapshot);
  }
}

/// Shares the first entries of the active L1 table. On an error, the flags become right again.
void Snapshots::share_or_restore(ClusterTree& tree, std::vector<std::uint64_t>& l1_table,
                                 std::uint64_t entries) {
  try {
    tree.share(std::span(l1_table).first(entries));
  } catch (...) {
    metadata_.rewrite_l1_table(l1_table);
    metadata_.change_header([&](Header& header) { metadata_.set_clean(header); });
    throw;
  }
}

void Snapshots::create(SnapshotEntry entry) {
  const Header old_header = metadata_.header();
  std::vector<SnapshotEntry> entries = table_.entries;
  std::vector<std::uint64_t> l1_table = metadata_.map().l1_table();
  entry.l1_table_offset = old_header.l1_table_offset;
  entry.l1_size = static_cast<std::uint32_t>(l1_table.size());
  entry.disk_size_bytes = old_header.size;
  const bool has_vm_state = entry.vm_state_size_bytes != 0;
  entries.push_back(std::move(entry));
  encode_snapshot_table(entries);  // refuses what does not fit before anything is changed

  // The snapshot takes the present L1 table over, the disk goes on with a copy. A VM state moves on
  // with the table: nothing else refers to it.
  const std::uint64_t disk_entries = std::min<std::uint64_t>(
      l1_table.size(), old_header.geometry().l1_entries_for(old_header.size));
  const std::uint64_t shared = has_vm_state ? disk_entries : l1_table.size();
  metadata_.require_tables_apart(l1_table);
  ClusterTree tree(metadata_.storage(), metadata_.refcounts(), metadata_.map().rules(),
                   FreedBy::snapshot);
  metadata_.set_unclean();
  share_or_restore(tree, l1_table, shared);
  metadata_.rewrite_l1_table(l1_table);
  const HostOffset place = write_table(entries);
  l1_table.resize(shared);
  metadata_.replace_l1_table(std::move(l1_table), true, [&](Header& header) {
    header.nb_snapshots = static_cast<std::uint32_t>(entries.size());
    header.snapshots_offset = place;
    metadata_.set_clean(header);
  });
  free_table(old_header);
  metadata_.flush();
  table_ = read_snapshot_table(metadata_.storage(), metadata_.header());
}

void Snapshots::apply(const SnapshotEntry& entry) {
  std::vector<std::uint64_t> l1_table = l1_table_of(entry);
  metadata_.require_tables_apart(l1_table);
  ClusterTree tree(metadata_.storage(), metadata_.refcounts(), metadata_.map().rules(),
                   FreedBy::snapshot);
  tree.share(l1_table);
  const std::vector<std::uint64_t> old_table = metadata_.map().l1_table();
  metadata_.replace_l1_table(std::move(l1_table), false,
                             [&](Header& header) { header.size = entry.disk_size_bytes; });
  tree.release(old_table);
  metadata_.flush();
}

void Snapshots::remove(const SnapshotEntry& entry) {
  const SnapshotEntry removed = entry;
  const Header old_header = metadata_.header();
  const std::vector<std::uint64_t> l1_table = l1_table_of(removed);
  std::vector<SnapshotEntry> entries = table_.entries;
  entries.erase(entries.begin() + (&entry - table_.entries.data()));
  const HostOffset place = write_table(entries);
  metadata_.change_header([&](Header& header) {
    header.nb_snapshots = static_cast<std::uint32_t>(entries.size());
    header.snapshots_offset = place;
    metadata_.set_unclean(header);
  });
  free_table(old_header);
  ClusterTree tree(metadata_.storage(), metadata_.refcounts(), metadata_.map().rules(),
                   FreedBy::snapshot);
  tree.release(l1_table);
  if (removed.l1_size != 0) {
    metadata_.defer_free(removed.l1_table_offset, std::uint64_t{removed.l1_size} * 8,
                         FreedBy::snapshot);
  }
  std::vector<std::uint64_t> active = metadata_.map().l1_table();
  tree.set_copied_flags(active);
  metadata_.rewrite_l1_table(std::move(active));
  metadata_.change_header([&](Header& header) { metadata_.set_clean(header); });
  table_ = read_snapshot_table(metadata_.storage(), metadata_.header());
}

void Snapshots::rewrite() {
  if (table_.entries.empty()) return;
  const Header old_header = metadata_.header();
  const HostOffset place = write_table(table_.entries);
  metadata_.change_header([&](Header& header) { header.snapshots_offset = place; });
  free_table(old_header);
  metadata_.flush();
  table_ = read_snapshot_table(metadata_.storage(), metadata_.header());
}

}  // namespace qcowkit::qcow2
