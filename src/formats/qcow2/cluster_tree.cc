#include "formats/qcow2/cluster_tree.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/buffer.h"
#include "formats/metadata_write.h"
#include "formats/qcow2/corrupt_image.h"
#include "formats/qcow2/l1_entry.h"

namespace qcowkit::qcow2 {

namespace {

constexpr std::uint64_t kRequestBytes = 4u << 20;

struct TableRef {
  std::uint64_t host_offset = 0;
  std::uint64_t references = 0;
};

/// The different tables, in ascending order.
std::vector<TableRef> tables_of(const Storage& storage, const Geometry& g,
                                std::span<const std::uint64_t> l1_entries) {
  std::vector<TableRef> tables;
  for (std::size_t i = 0; i < l1_entries.size(); ++i) {
    const L1Entry entry(l1_entries[i]);
    if (!entry.has_table()) continue;
    if (!entry.is_aligned_to(g)) {
      throw CorruptImage(storage,
                         fmt::format("L1 table: entry {} is {:#x}, expected an L2 table offset "
                                     "that is a multiple of the cluster size {}",
                                     i, entry.raw(), g.cluster_size()));
    }
    tables.push_back({entry.l2_table().value, 1});
  }
  std::ranges::sort(tables, {}, &TableRef::host_offset);
  std::size_t kept = 0;
  for (const TableRef& table : tables) {
    if (kept > 0 && tables[kept - 1].host_offset == table.host_offset) {
      ++tables[kept - 1].references;
    } else {
      tables[kept++] = table;
    }
  }
  tables.resize(kept);
  return tables;
}

void append_range(std::vector<HostRange>& ranges, HostRange range) {
  if (!ranges.empty() && ranges.back().host_offset + ranges.back().bytes == range.host_offset) {
    ranges.back().bytes += range.bytes;
  } else {
    ranges.push_back(range);
  }
}

}  // namespace

void for_each_l2_table(Storage& storage, const Geometry& geometry,
                       std::span<const std::uint64_t> l1_entries,
                       const std::function<bool(const L2TableView& table)>& visit) {
  const std::uint64_t table_bytes = geometry.cluster_size();
  const std::vector<TableRef> tables = tables_of(storage, geometry, l1_entries);
  const std::size_t tables_max = std::max<std::uint64_t>(kRequestBytes / table_bytes, 1);
  Buffer buffer(std::min(tables.size(), tables_max) * table_bytes);
  for (std::size_t begin = 0; begin < tables.size();) {
    std::size_t count = 1;
    while (begin + count < tables.size() && count < tables_max &&
           tables[begin + count].host_offset == tables[begin].host_offset + count * table_bytes) {
      ++count;
    }
    const std::span<std::byte> bytes = buffer.span().first(count * table_bytes);
    storage.raise(Event::l2_load, tables[begin].host_offset, bytes.size());
    storage.read(tables[begin].host_offset, bytes);
    MetadataWrites changed;
    for (std::size_t i = 0; i < count; ++i) {
      const TableRef& table = tables[begin + i];
      const L2TableView view{
          {table.host_offset}, table.references, bytes.subspan(i * table_bytes, table_bytes)};
      if (visit(view)) changed.add(view.host_offset, view.entries, Event::l2_update);
    }
    changed.write_to(storage);
    begin += count;
  }
}

/// How many entries from `first` on say nothing else but that their host clusters lie side by side;
/// 0 if the first does not.
std::uint64_t ClusterTree::plain_run(std::span<const std::byte> table, std::uint64_t first) const {
  const Geometry& g = rules_.geometry;
  if (g.extended_l2() || rules_.data_file) return 0;
  const std::uint64_t offset_bits = RawL2Entry::kOffsetMask & ~(g.cluster_size() - 1);
  const auto entry = [&](std::uint64_t i) {
    return load_big_endian<std::uint64_t>(table.data() + i * sizeof(std::uint64_t)) &
           ~RawL2Entry::kCopied;
  };
  std::uint64_t expected = entry(first);
  if (expected == 0 || (expected & ~offset_bits) != 0) return 0;
  std::uint64_t end = first;
  while (end < g.l2_entries() && entry(end) == expected) {
    ++end;
    expected += g.cluster_size();
  }
  return end - first;
}

/// What the table's entries lead to.
void ClusterTree::collect_ranges(const L2TableView& table) {
  const Geometry& g = rules_.geometry;
  ranges_.clear();
  ranges_.push_back({table.host_offset, g.cluster_size()});
  for (std::uint64_t i = 0; i < g.l2_entries(); ++i) {
    const RawL2Entry raw = RawL2Entry::load(table.entries.data(), i, g);
    if (raw.descriptor == 0) continue;
    if (const std::uint64_t count = plain_run(table.entries, i)) {
      const HostOffset first{raw.descriptor & RawL2Entry::kOffsetMask};
      append_range(ranges_, {first, count * g.cluster_size()});
      i += count - 1;
      continue;
    }
    const L2Mapping mapping = L2Mapping::decode(raw, rules_);
    switch (mapping.kind) {
      case L2Mapping::Kind::invalid:
        throw CorruptImage(
            storage_,
            fmt::format("L2 table at host offset {:#x}: entry {} is {:#x}: {}",
                        table.host_offset.value, i, raw.descriptor, mapping.what_is_wrong));
      case L2Mapping::Kind::compressed:
        // Streams share clusters: each counts by itself.
        ranges_.push_back({mapping.host_offset, mapping.compressed_bytes});
        break;
      case L2Mapping::Kind::standard:
        if (mapping.has_host_cluster && !rules_.data_file) {
          append_range(ranges_, {mapping.host_offset, g.cluster_size()});
        }
        break;
    }
  }
}

bool ClusterTree::clear_copied(std::span<std::byte> table) const {
  // The flag is the first bit of each entry.
  constexpr std::byte kFlag{0x80};
  const std::uint64_t step = rules_.geometry.l2_entry_bytes();
  std::byte any{0};
  for (std::size_t at = 0; at < table.size(); at += step) {
    any |= table[at];
    table[at] &= ~kFlag;
  }
  return (any & kFlag) != std::byte{0};
}

/// Sets the flags of `count` entries from `first` on, whose clusters lie side by side.
bool ClusterTree::set_copied_run(std::span<std::byte> table, std::uint64_t first,
                                 HostOffset host_offset, std::uint64_t count) {
  const Geometry& g = rules_.geometry;
  bool changed = false;
  run_refcounts_.resize(count);
  refcounts_.refcounts_of(host_offset, run_refcounts_);
  for (std::uint64_t i = 0; i < count; ++i) {
    RawL2Entry raw = RawL2Entry::load(table.data(), first + i, g);
    const std::uint64_t flag = run_refcounts_[i] == 1 ? RawL2Entry::kCopied : 0;
    if ((raw.descriptor & RawL2Entry::kCopied) == flag) continue;
    raw.descriptor ^= RawL2Entry::kCopied;
    raw.store(table.data(), first + i, g);
    changed = true;
  }
  return changed;
}

bool ClusterTree::set_copied(std::span<std::byte> table) {
  const Geometry& g = rules_.geometry;
  bool changed = false;
  for (std::uint64_t i = 0; i < g.l2_entries();) {
    RawL2Entry raw = RawL2Entry::load(table.data(), i, g);
    const std::uint64_t run = plain_run(table, i);
    if (run != 0) {
      const HostOffset first{raw.descriptor & RawL2Entry::kOffsetMask};
      changed |= set_copied_run(table, i, first, run);
    } else if (raw.descriptor != 0) {
      const L2Mapping mapping = L2Mapping::decode(raw, rules_);
      if (mapping.kind == L2Mapping::Kind::standard && mapping.has_host_cluster) {
        changed |= set_copied_run(table, i, mapping.host_offset, 1);
      } else if (mapping.kind != L2Mapping::Kind::invalid &&
                 (raw.descriptor & RawL2Entry::kCopied) != 0) {
        raw.descriptor &= ~RawL2Entry::kCopied;
        raw.store(table.data(), i, g);
        changed = true;
      }
    }
    i += std::max<std::uint64_t>(run, 1);
  }
  return changed;
}

void ClusterTree::share(std::span<std::uint64_t> l1_entries) {
  std::size_t shared = 0;
  const auto share_table = [&](const L2TableView& table) {
    collect_ranges(table);
    for (std::uint64_t i = 0; i < table.references; ++i) {
      refcounts_.add_references(ranges_);
      ++shared;
    }
    return clear_copied(table.entries);
  };
  try {
    for_each_l2_table(storage_, rules_.geometry, l1_entries, share_table);
  } catch (...) {
    for_each_l2_table(storage_, rules_.geometry, l1_entries, [&](const L2TableView& table) {
      if (shared == 0) return false;
      collect_ranges(table);
      for (std::uint64_t i = 0; i < table.references && shared > 0; ++i, --shared) {
        refcounts_.drop_references(ranges_);
      }
      return set_copied(table.entries);
    });
    throw;
  }
  for (std::uint64_t& entry : l1_entries) entry &= ~L1Entry::kCopied;
}

void ClusterTree::release(std::span<const std::uint64_t> l1_entries) {
  for_each_l2_table(storage_, rules_.geometry, l1_entries, [&](const L2TableView& table) {
    collect_ranges(table);
    for (std::uint64_t i = 0; i < table.references; ++i) {
      refcounts_.drop_references(ranges_, by_);
    }
    return false;
  });
}

void ClusterTree::set_copied_flags(std::span<std::uint64_t> l1_entries) {
  for_each_l2_table(storage_, rules_.geometry, l1_entries,
                    [&](const L2TableView& table) { return set_copied(table.entries); });
  for (std::uint64_t& raw : l1_entries) {
    const L1Entry entry(raw);
    if (!entry.has_table()) continue;
    const bool is_exclusive = refcounts_.refcount_of(entry.l2_table()) == 1;
    raw = L1Entry::table(entry.l2_table(), is_exclusive).raw();
  }
}

}  // namespace qcowkit::qcow2
