// Writing all refcounts anew with another width.
#include <fmt/core.h>

#include <algorithm>
#include <cerrno>

#include "base/buffer.h"
#include "formats/qcow2/limits.h"
#include "formats/qcow2/refcount_block.h"
#include "formats/qcow2/refcounts.h"

namespace qcowkit::qcow2 {

namespace {

Geometry with_order(const Geometry& g, std::uint32_t refcount_order) {
  return {g.cluster_bits(), refcount_order, g.extended_l2()};
}

/// The refcount blocks that are to be written, by their numbers, and the table that lists them.
struct NewTables {
  std::vector<std::uint64_t> blocks;
  std::uint64_t table_clusters = 0;

  std::uint64_t clusters() const noexcept { return blocks.size() + table_clusters; }
};

/// Those that the clusters in use need, and those that describe the new tables themselves, which
/// lie from cluster `start` on.
NewTables plan_tables(const std::vector<std::uint64_t>& used_blocks, std::uint64_t start,
                      const Geometry& g) {
  const std::uint64_t per_block = g.refcount_block_entries();
  for (std::uint64_t total = 0;;) {
    NewTables tables{used_blocks};
    for (std::uint64_t block = start / per_block; block * per_block < start + total; ++block) {
      if (tables.blocks.empty() || tables.blocks.back() < block) tables.blocks.push_back(block);
    }
    const std::uint64_t entries = tables.blocks.empty() ? 1 : tables.blocks.back() + 1;
    tables.table_clusters = g.clusters_for(entries * sizeof(std::uint64_t));
    if (tables.clusters() == total) return tables;
    total = tables.clusters();
  }
}

}  // namespace

/// The refcount blocks that hold a refcount other than 0 when they are as `g` says. Throws `Error`
/// (limit_exceeded) if one does not fit.
std::vector<std::uint64_t> Refcounts::blocks_in_use(const Geometry& g, std::uint64_t end_cluster) {
  std::vector<std::uint64_t> used;
  for (std::uint64_t c = 0; c < end_cluster; ++c) {
    const std::uint64_t refcount = get(c);
    if (refcount > g.refcount_max()) {
      throw Error(Errc::limit_exceeded,
                  fmt::format("Cannot decrease refcount entry width to {} bits: Cluster at offset "
                              "{:#x} has a refcount of {}",
                              g.refcount_bits(), cluster_offset(c).value, refcount));
    }
    const std::uint64_t block = c / g.refcount_block_entries();
    if (refcount != 0 && (used.empty() || used.back() != block)) used.push_back(block);
  }
  return used;
}

// The new structures lie behind all clusters in use:
//
//     ... in use | blocks | table |
//                ^ start          ^ end
//
// and count the old ones, which are freed once the header points at the new table.
Refcounts::GrownTable Refcounts::write_with_width(std::uint32_t refcount_order) {
  const Geometry g = with_order(geometry_, refcount_order);
  const std::uint64_t per_block = g.refcount_block_entries();
  const std::uint64_t start = end_of_used();
  const auto [blocks, table_clusters] = plan_tables(blocks_in_use(g, start), start, g);
  const std::uint64_t end = start + blocks.size() + table_clusters;
  if (table_clusters * g.cluster_size() > kRefcountTableBytesMax) {
    throw Error(Errc::limit_exceeded,
                fmt::format("refcount table: it would have {} bytes, at most {} are possible",
                            table_clusters * g.cluster_size(), kRefcountTableBytesMax));
  }
  if (!storage_.can_grow() && cluster_offset(end).value > storage_.size()) {
    throw os_error(ENOSPC, "writing new refcounts");
  }

  // Even if this fails, these clusters do not read as zeroes any more.
  if (untouched_from_ != ~std::uint64_t{0}) untouched_from_ = std::max(untouched_from_, end);
  GrownTable rebuilt{
      cluster_offset(start + blocks.size()), static_cast<std::uint32_t>(table_clusters),
      std::vector<std::uint64_t>(table_clusters * g.refcount_table_entries_per_cluster()), end};
  Buffer bytes(g.cluster_size());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const std::uint64_t first = blocks[i] * per_block;
    std::fill_n(bytes.data(), bytes.size(), std::byte{0});
    for (std::uint64_t c = first; c < std::min(first + per_block, end); ++c) {
      store_refcount(bytes.data(), c - first, refcount_order, c >= start ? 1 : get(c));
    }
    const HostOffset place = cluster_offset(start + i);
    storage_.write(place.value, bytes.span());
    rebuilt.entries[blocks[i]] = place.value;
  }
  const std::vector<be64> table(rebuilt.entries.begin(), rebuilt.entries.end());
  storage_.write(rebuilt.host_offset.value, std::as_bytes(std::span(table)));
  return rebuilt;
}

void Refcounts::adopt_with_width(const GrownTable& rebuilt, std::uint32_t refcount_order) {
  deferred_.push_back({table_offset_, table_.size() * sizeof(std::uint64_t)});
  for (const std::uint64_t block : table_) {
    if (block != 0) deferred_.push_back({{block}, geometry_.cluster_size()});
  }
  geometry_ = with_order(geometry_, refcount_order);
  table_ = rebuilt.entries;
  table_offset_ = rebuilt.host_offset;
  new_blocks_.clear();
  blocks_.clear();
  guard_.set_refcount_table(table_offset_, rebuilt.clusters * geometry_.cluster_size());
  guard_.set_refcount_blocks(table_);
}

}  // namespace qcowkit::qcow2
