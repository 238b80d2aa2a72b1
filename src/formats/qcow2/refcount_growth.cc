// Moving the refcount table to a larger place.
#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "formats/qcow2/limits.h"
#include "formats/qcow2/refcount_block.h"
#include "formats/qcow2/refcounts.h"

namespace qcowkit::qcow2 {

namespace {

/// A new refcount table, and the blocks for it and for themselves, in clusters.
struct Growth {
  std::uint64_t table_clusters;
  std::uint64_t blocks;
};

/// By about a half. `blocks` must describe themselves and the table, and the table must have
/// entries for them and for those that there are.
Growth growth_of(std::uint64_t table_entries, const Geometry& g) {
  const std::uint64_t per_block = g.refcount_block_entries();
  const std::uint64_t per_table_cluster = g.refcount_table_entries_per_cluster();
  Growth growth{table_entries / per_table_cluster * 3 / 2 + 1, 1};
  const auto count_blocks = [&] {
    while (growth.blocks * per_block < growth.table_clusters + growth.blocks) ++growth.blocks;
  };
  count_blocks();
  while (table_entries + growth.blocks > growth.table_clusters * per_table_cluster) {
    ++growth.table_clusters;
    count_blocks();
  }
  return growth;
}

}  // namespace

// The new table lies behind everything that the old one can describe, where every cluster is free,
// followed by the refcount blocks that describe this new area:
//
//     ... old coverage | new table | new blocks | free ...
//                      ^ start                  ^ end
Refcounts::GrownTable Refcounts::write_grown_table() {
  const std::uint64_t cluster_size = geometry_.cluster_size();
  const std::uint64_t per_block = geometry_.refcount_block_entries();
  const std::uint64_t start = table_.size() * per_block;
  const auto [table_clusters, blocks] = growth_of(table_.size(), geometry_);
  const std::uint64_t end = start + table_clusters + blocks;
  if (table_clusters * cluster_size > kRefcountTableBytesMax ||
      end > kHostOffsetEnd >> geometry_.cluster_bits()) {
    throw Error(
        Errc::limit_exceeded,
        fmt::format("refcount table: it would have to grow to {} bytes, at most {} are possible",
                    table_clusters * cluster_size, kRefcountTableBytesMax));
  }
  if (!storage_.can_grow() && cluster_offset(end).value > storage_.size()) {
    throw os_error(ENOSPC, "growing the refcount table");
  }

  // Entries for blocks that are new and only in memory become part of the table: their contents
  // have to be on the disk before it.
  const std::vector<MetadataCache::Slice*> slices = blocks_.begin_write();
  try {
    MetadataWrites writes;
    for (const MetadataCache::Slice* slice : slices) {
      writes.add({slice->host_offset()}, {slice->data(), blocks_.slice_bytes()},
                 Event::refblock_update_part);
    }
    GrownTable grown{cluster_offset(start), static_cast<std::uint32_t>(table_clusters), table_,
                     end};
    grown.entries.resize(table_clusters * geometry_.refcount_table_entries_per_cluster(), 0);
    std::vector<std::byte> block_bytes(cluster_size);
    for (std::uint64_t block = 0; block < blocks; ++block) {
      const std::uint64_t first = start + block * per_block;
      std::fill(block_bytes.begin(), block_bytes.end(), std::byte{0});
      for (std::uint64_t c = first; c < std::min(end, first + per_block); ++c) {
        store_refcount(block_bytes.data(), c - first, geometry_.refcount_order(), 1);
      }
      const HostOffset block_offset = cluster_offset(start + table_clusters + block);
      writes.add(block_offset, block_bytes, Event::refblock_alloc_write_blocks);
      grown.entries[table_.size() + block] = block_offset.value;
    }
    std::vector<be64> table_bytes(grown.entries.begin(), grown.entries.end());
    writes.add(grown.host_offset, std::as_bytes(std::span(table_bytes)),
               Event::refblock_alloc_write_table);
    // Even if this fails, these clusters do not read as zeroes any more.
    untouched_from_ = std::max(untouched_from_, end);
    writes.write_to(storage_);
    storage_.flush();
    blocks_.end_write(slices, true);
    return grown;
  } catch (...) {
    blocks_.end_write(slices, false);
    throw;
  }
}

void Refcounts::adopt_grown_table(const GrownTable& grown) {
  deferred_.push_back({table_offset_, table_.size() * sizeof(std::uint64_t), FreedBy::other});
  table_ = grown.entries;
  table_offset_ = grown.host_offset;
  new_blocks_.clear();
  guard_.set_refcount_table(table_offset_, grown.clusters * geometry_.cluster_size());
  guard_.set_refcount_blocks(table_);
}

}  // namespace qcowkit::qcow2
