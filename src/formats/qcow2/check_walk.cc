#include "formats/qcow2/check_walk.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "formats/qcow2/check_l2.h"
#include "formats/qcow2/l1_entry.h"

namespace qcowkit::qcow2 {

namespace {

/// L2 tables at unaligned places are still looked into, as the reference does, but not so many of
/// them that an image could make a check read the same clusters over and over.
constexpr std::size_t kUnalignedTablesMax = 1024;

std::uint32_t saturating_add(std::uint32_t a, std::uint32_t b) noexcept {
  return a + std::min(b, std::numeric_limits<std::uint32_t>::max() - a);
}

/// The active tables in L1 order, each once.
std::vector<L2TableRef> active_tables(const std::vector<std::uint64_t>& l1) {
  std::vector<L2TableRef> tables;
  std::unordered_map<std::uint64_t, std::size_t> at;
  std::uint64_t highest = 0;
  for (const std::uint64_t raw : l1) {
    const L1Entry entry(raw);
    if (!entry.has_table()) continue;
    const std::uint64_t host_offset = entry.l2_table().value;
    // Tables that lie in L1 order, as they mostly do, can be told apart without the map.
    if (at.empty() && host_offset > highest) {
      highest = host_offset;
      tables.push_back({{host_offset}, 1, 0});
      continue;
    }
    if (at.empty()) {
      for (std::size_t i = 0; i < tables.size(); ++i) at[tables[i].host_offset.value] = i;
    }
    const auto [known, is_new] = at.try_emplace(host_offset, tables.size());
    if (is_new) {
      tables.push_back({{host_offset}, 1, 0});
    } else {
      ++tables[known->second].active;
    }
  }
  return tables;
}

/// Adds what the snapshots' tables have in common with the active ones to these, then the rest.
std::vector<L2TableRef> join(std::vector<L2TableRef> active, std::vector<L2TableRef> inactive) {
  if (inactive.empty()) return active;
  for (L2TableRef& table : active) {
    const auto same = std::lower_bound(
        inactive.begin(), inactive.end(), table.host_offset,
        [](const L2TableRef& t, HostOffset offset) { return t.host_offset < offset; });
    if (same == inactive.end() || same->host_offset != table.host_offset) continue;
    table.inactive = same->inactive;
    same->inactive = 0;
  }
  std::copy_if(inactive.begin(), inactive.end(), std::back_inserter(active),
               [](const L2TableRef& t) { return t.inactive != 0; });
  return active;
}

/// Counts the references to the tables themselves, with what the active L1 entries claim.
void count_tables(References& references) {
  const Geometry& g = references.context.geometry;
  for (const L2TableRef& table : references.tables) {
    const std::uint64_t weight = std::uint64_t{table.active} + table.inactive;
    references.add_region(table.host_offset.value, g.cluster_size(), weight, claim::kNone);
    if (g.in_cluster(table.host_offset.value) != 0) {
      references.corruption(
          weight, "ERROR l2_offset={:x}: Table is not cluster aligned; L1 entry corrupted",
          table.host_offset.value);
    }
  }
  for (const std::uint64_t raw : references.l1) {
    const L1Entry entry(raw);
    if (!entry.has_table()) continue;
    const std::uint64_t cluster = entry.l2_table().value >> g.cluster_bits();
    if (cluster < references.context.file_clusters) {
      references.counts.add(cluster, 1, 0, entry.copied() ? claim::kCopied : claim::kShared);
    } else {
      references.claims_wrong = true;
    }
  }
}

/// Drops the tables that are not worth reading: those behind the file's end, which are reported by
/// now, and those in holes, where a file is so sparse that reading holes could take forever.
void drop_unreadable_tables(References& references) {
  const CheckContext& context = references.context;
  const std::uint64_t cluster_size = context.geometry.cluster_size();
  const bool is_sparse =
      context.storage.allocated_bytes() / cluster_size < references.tables.size();
  std::size_t unaligned = 0;
  const auto is_worthless = [&](const L2TableRef& table) {
    const std::uint64_t host_offset = table.host_offset.value;
    if (host_offset >= context.file_bytes) return true;
    if (context.geometry.in_cluster(host_offset) != 0 && ++unaligned > kUnalignedTablesMax) {
      references.incomplete = true;
      return true;
    }
    if (!is_sparse) return false;
    const StorageExtent extent = context.storage.extent_at(host_offset, cluster_size);
    return extent.is_hole && extent.length_bytes >= cluster_size;
  };
  std::vector<L2TableRef>& tables = references.tables;
  const auto active_end = tables.begin() + static_cast<std::ptrdiff_t>(references.active_tables);
  const auto kept_end = std::remove_if(tables.begin(), active_end, is_worthless);
  references.active_tables = static_cast<std::size_t>(kept_end - tables.begin());
  const auto inactive = tables.erase(kept_end, active_end);
  tables.erase(std::remove_if(inactive, tables.end(), is_worthless), tables.end());
}

void walk_tables(References& references) {
  L2TableReader reader(references.context);
  L2Walk walk(references);
  reader.for_each(
      references.tables, kWalkStage,
      [&](const L2TableRef& table, std::span<std::byte> bytes) { walk.table(table, bytes); });
}

}  // namespace

void InactiveTables::add(std::uint64_t host_offset, std::uint32_t weight) {
  tables_.push_back({{host_offset}, 0, weight});
  constexpr std::size_t kMergeAt = 65536;
  if (tables_.size() >= 2 * merged_ + kMergeAt) merge();
}

void InactiveTables::merge() {
  std::sort(tables_.begin(), tables_.end(),
            [](const L2TableRef& a, const L2TableRef& b) { return a.host_offset < b.host_offset; });
  std::size_t kept = 0;
  for (const L2TableRef& table : tables_) {
    if (kept > 0 && tables_[kept - 1].host_offset == table.host_offset) {
      tables_[kept - 1].inactive = saturating_add(tables_[kept - 1].inactive, table.inactive);
    } else {
      tables_[kept++] = table;
    }
  }
  tables_.resize(kept);
  merged_ = kept;
}

std::vector<L2TableRef> InactiveTables::take() {
  merge();
  return std::move(tables_);
}

std::vector<std::uint64_t> read_l1_table(References& references, HostOffset host_offset,
                                         std::uint64_t entries, std::uint64_t weight) {
  std::vector<std::uint64_t> l1(entries);
  if (l1.empty()) return l1;
  try {
    references.context.storage.read(host_offset.value, std::as_writable_bytes(std::span(l1)));
  } catch (const Error& error) {
    references.unreadable(error.within(fmt::format("L1 table at {:#x}", host_offset.value)));
    return {};
  }
  for (std::uint64_t& raw : l1) {
    raw = big_endian(raw);
    if (L1Entry(raw).has_reserved_bits()) {
      references.corruption(weight, "ERROR found L1 entry with reserved bits set: {:x}", raw);
    } else if (!L1Entry(raw).has_table() && L1Entry(raw).copied()) {
      references.corruption(weight, "ERROR found L1 entry without a table: {:x}", raw);
    }
  }
  return l1;
}

void collect_references(References& references) {
  CheckContext& context = references.context;
  const Header& header = context.header;
  references.add_region(0, context.geometry.cluster_size(), 1, claim::kNone);

  references.add_region(header.l1_table_offset.value, std::uint64_t{header.l1_size} * 8, 1,
                        claim::kNone);
  references.l1 = read_l1_table(references, header.l1_table_offset, header.l1_size, 1);
  InactiveTables inactive;
  collect_snapshots(references, inactive);

  references.tables = active_tables(references.l1);
  references.active_tables = references.tables.size();
  references.tables = join(std::move(references.tables), inactive.take());
  count_tables(references);
  drop_unreadable_tables(references);
  walk_tables(references);

  if (header.encryption) {
    references.add_region(header.encryption->offset.value, header.encryption->length, 1,
                          claim::kNone);
  }
  collect_bitmaps(references);
}

}  // namespace qcowkit::qcow2
