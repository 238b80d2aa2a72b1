// The tables that say where guest clusters are, in memory: what QCOW and QCOW2 have in common.
#include "formats/cached_tables.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

#include "base/endian.h"
#include "base/sector.h"

namespace qcowkit {

namespace {

constexpr std::uint64_t kEntryBytes = sizeof(std::uint64_t);
/// The L1 table is written back in parts of as many entries as a sector has room for.
constexpr std::uint64_t kEntriesPerL1Part = kSectorBytes / kEntryBytes;

/// True if the byte at `host_offset` is part of one of the tables, which start at `tables`.
bool is_in_any(const std::set<std::uint64_t>& tables, std::uint64_t table_bytes,
               std::uint64_t host_offset) {
  const auto behind = tables.upper_bound(host_offset);
  return behind != tables.begin() && host_offset - *std::prev(behind) < table_bytes;
}

}  // namespace

CachedTables::CachedTables(std::uint64_t slice_bytes, std::uint64_t cache_bytes)
    : slices_(slice_bytes, cache_bytes / slice_bytes) {}

void CachedTables::start_from(std::vector<std::uint64_t> l1, HostOffset l1_offset,
                              std::uint64_t l2_table_bytes) {
  l1_ = std::move(l1);
  l1_offset_ = l1_offset;
  l2_table_bytes_ = l2_table_bytes;
  slices_.clear();
  dirty_l1_parts_.clear();
  unlinked_tables_.clear();
  ++generation_;
}

void CachedTables::insert_read(std::uint64_t slice_host_offset, Buffer&& bytes,
                               std::uint64_t generation) {
  // While the lock was not held, the slice may have been loaded, changed, written and dropped.
  if (generation_ != generation || slices_.find(slice_host_offset) != nullptr) return;
  slices_.insert(slice_host_offset, std::move(bytes));
}

/// What is known of the place is of something else; the L1 entry `index` is about to point there.
void CachedTables::note_new_table(std::uint64_t index, HostOffset host_offset) {
  ++generation_;
  for (std::uint64_t at = 0; at < l2_table_bytes_; at += slices_.slice_bytes()) {
    slices_.forget(host_offset.value + at);
  }
  unlinked_tables_.insert(host_offset.value);
  dirty_l1_parts_.insert(index / kEntriesPerL1Part);
}

void CachedTables::link(std::uint64_t index, std::uint64_t entry, NewTable table) {
  note_new_table(index, table.host_offset);
  MetadataCache::Slice& slice = slices_.insert(table.slice_host_offset, std::move(table.slice));
  if (table.is_dirty) slices_.mark_dirty(slice);
  l1_[index] = entry;
}

void CachedTables::link_written(std::uint64_t index, std::span<const std::uint64_t> entries,
                                HostOffset first_table) {
  for (std::size_t i = 0; i < entries.size(); ++i) {
    note_new_table(index + i, first_table + i * l2_table_bytes_);
  }
  std::ranges::copy(entries, l1_.begin() + static_cast<std::ptrdiff_t>(index));
}

CachedTables::Dirty CachedTables::begin_write() {
  Dirty dirty;
  dirty.slices = slices_.begin_write();
  dirty.l1_parts = std::exchange(dirty_l1_parts_, {});
  dirty.unlinked_tables = std::exchange(unlinked_tables_, {});
  for (const MetadataCache::Slice* slice : dirty.slices) {
    const bool is_unlinked =
        is_in_any(dirty.unlinked_tables, l2_table_bytes_, slice->host_offset());
    MetadataWrites& batch = is_unlinked ? dirty.unlinked : dirty.linked;
    batch.add({slice->host_offset()}, {slice->data(), slices_.slice_bytes()}, Event::l2_update);
  }
  for (const std::uint64_t part : dirty.l1_parts) {
    const std::uint64_t first = part * kEntriesPerL1Part;
    const std::uint64_t end = std::min<std::uint64_t>(first + kEntriesPerL1Part, l1_.size());
    const std::vector<be64> bytes(l1_.begin() + static_cast<std::ptrdiff_t>(first),
                                  l1_.begin() + static_cast<std::ptrdiff_t>(end));
    dirty.linked.add(l1_offset_ + first * kEntryBytes, std::as_bytes(std::span(bytes)),
                     Event::l1_update);
  }
  return dirty;
}

void CachedTables::end_write(Dirty& dirty) {
  const bool is_done = dirty.stage == Dirty::Stage::done;
  slices_.end_write(dirty.slices, is_done);
  ++generation_;
  if (is_done) return;
  dirty_l1_parts_.merge(dirty.l1_parts);
  // From the barrier on, the disk's L1 table may point at them.
  if (dirty.stage == Dirty::Stage::begun) unlinked_tables_.merge(dirty.unlinked_tables);
}

}  // namespace qcowkit
