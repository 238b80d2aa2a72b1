// Finding host clusters that nothing uses, and refcount blocks for them.
#include <fmt/core.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>

#include "formats/qcow2/corrupt_image.h"
#include "formats/qcow2/limits.h"
#include "formats/qcow2/refcount_block.h"
#include "formats/qcow2/refcounts.h"

namespace qcowkit::qcow2 {

/// The first cluster from `cluster` on, below `end` and in the same slice, whose refcount is 0;
/// the end of the slice (or `end`) if there is none.
std::uint64_t Refcounts::skip_used(std::uint64_t cluster, std::uint64_t end) {
  const std::uint64_t per_slice = blocks_.slice_bytes() * 8 >> geometry_.refcount_order();
  const std::uint64_t slice_start = align_down(cluster, per_slice);
  const std::byte* data = slice_with(cluster).data();
  end = std::min(end, slice_start + per_slice);
  while (cluster < end &&
         load_refcount(data, cluster - slice_start, geometry_.refcount_order()) != 0) {
    ++cluster;
  }
  return cluster;
}

/// The first free cluster whose refcount block exists, creating the block where needed. Nothing
/// if the refcount table is too small.
std::optional<std::uint64_t> Refcounts::find_free() {
  for (;;) {
    const std::uint64_t block = next_free_ >> geometry_.refcount_block_bits();
    if (block >= table_.size()) return std::nullopt;
    if (table_[block] == 0) {
      // The block describes itself: it takes the first cluster that it is about.
      create_block(block, next_free_);
      continue;
    }
    const std::uint64_t block_end = (block + 1) << geometry_.refcount_block_bits();
    while (next_free_ < block_end) {
      const std::uint64_t found = skip_used(next_free_, block_end);
      const bool is_free = found < block_end && get(found) == 0;
      next_free_ = found;
      if (is_free) return found;
    }
  }
}

void Refcounts::require_allocatable(std::uint64_t cluster) const {
  const HostOffset offset = cluster_offset(cluster);
  if (const char* structure = guard_.hit(offset, geometry_.cluster_size())) {
    throw CorruptImage(
        storage_,
        fmt::format("refcount block: host cluster {:#x} has refcount 0, but the {} lies there",
                    offset.value, structure));
  }
  if (offset.value + geometry_.cluster_size() > kHostOffsetEnd) {
    throw os_error(EFBIG, "allocating a host cluster");
  }
  if (!storage_.can_grow() && offset.value + geometry_.cluster_size() > storage_.size()) {
    throw os_error(ENOSPC, "allocating a host cluster");
  }
}

void Refcounts::create_block(std::uint64_t block, std::uint64_t cluster) {
  require_allocatable(cluster);
  const HostOffset offset = cluster_offset(cluster);
  const std::uint64_t slice_bytes = blocks_.slice_bytes();
  storage_.raise(Event::refblock_alloc_write, offset.value, geometry_.cluster_size());
  // The slices that stay out of the cache have to be zeroes on the disk.
  if (slice_bytes < geometry_.cluster_size()) {
    storage_.write_zeroes(offset.value, geometry_.cluster_size(), {});
  }
  for (std::uint64_t at = 0; at < geometry_.cluster_size(); at += slice_bytes) {
    blocks_.forget(offset.value + at);
  }
  const std::uint64_t in_block = cluster & (geometry_.refcount_block_entries() - 1);
  const std::uint64_t own_slice =
      align_down((in_block << geometry_.refcount_order()) / 8, slice_bytes);
  Buffer data(slice_bytes, MetadataCache::kAlignment);
  std::memset(data.data(), 0, slice_bytes);
  insert_slice(offset.value + own_slice, std::move(data));
  table_[block] = offset.value;
  new_blocks_.push_back(block);
  guard_.add_refcount_block(offset);
  set(cluster, 1);
  untouched_from_ = std::max(untouched_from_, cluster + 1);
}

/// How far, at most to `end`, free clusters behind `first` may be reserved as well.
std::uint64_t Refcounts::end_of_allocatable(std::uint64_t first, std::uint64_t end) const {
  if (!storage_.can_grow()) end = std::min(end, storage_.size() >> geometry_.cluster_bits());
  const std::uint64_t bytes = (end - first) << geometry_.cluster_bits();
  if (guard_.hit(cluster_offset(first), bytes) == nullptr) return end;
  std::uint64_t cluster = first + 1;
  while (cluster < end && guard_.hit(cluster_offset(cluster), 1) == nullptr) ++cluster;
  return cluster;
}

std::optional<HostRun> Refcounts::allocate_locked(std::uint64_t clusters_max) {
  const std::optional<std::uint64_t> first = find_free();
  if (!first) return std::nullopt;
  require_allocatable(*first);
  const std::uint64_t block_end = ((*first >> geometry_.refcount_block_bits()) + 1)
                                  << geometry_.refcount_block_bits();
  const std::uint64_t end = std::min(block_end, *first + clusters_max);
  const std::uint64_t cluster = take_free(*first, end_of_allocatable(*first, end));
  next_free_ = cluster;
  HostRun run{cluster_offset(*first), cluster - *first, *first >= untouched_from_};
  if (untouched_from_ != ~std::uint64_t{0}) untouched_from_ = std::max(untouched_from_, cluster);
  return run;
}

/// Tells of a change of refcounts to come. Before the lock is taken: who stops there stops nobody
/// else.
void Refcounts::raise_update() const {
  storage_.raise(Event::refblock_alloc);
  storage_.raise(Event::refblock_load);
}

std::optional<HostRun> Refcounts::allocate(std::uint64_t clusters_max) {
  raise_update();
  const MutexLock lock(mutex_);
  return allocate_locked(clusters_max);
}

/// The first cluster behind which nothing is in use.
std::uint64_t Refcounts::end_of_used() {
  std::uint64_t block = table_.size();
  for (; block > 0; --block) {
    if (table_[block - 1] == 0) continue;
    const std::uint64_t first = (block - 1) << geometry_.refcount_block_bits();
    for (std::uint64_t in_block = geometry_.refcount_block_entries(); in_block > 0; --in_block) {
      if (get(first + in_block - 1) != 0) return first + in_block;
    }
  }
  return 0;
}

HostOffset Refcounts::end_of_used_clusters() {
  const MutexLock lock(mutex_);
  return cluster_offset(end_of_used());
}

void Refcounts::note_storage_size(std::uint64_t bytes) {
  const MutexLock lock(mutex_);
  untouched_from_ = geometry_.clusters_for(bytes);
}

/// How many new refcount blocks a run needs that lies behind them, from cluster `start` on where
/// nothing is in use. Nothing if the refcount table has no entries for all of them.
std::optional<std::uint64_t> Refcounts::new_blocks_for(std::uint64_t start,
                                                       std::uint64_t clusters) const {
  const auto block_of = [&](std::uint64_t c) { return c >> geometry_.refcount_block_bits(); };
  for (std::uint64_t new_blocks = 0;;) {
    std::uint64_t missing = 0;
    const std::uint64_t last = block_of(start + new_blocks + clusters - 1);
    if (last >= table_.size()) return std::nullopt;
    for (std::uint64_t block = block_of(start); block <= last; ++block) {
      if (table_[block] == 0) ++missing;
    }
    if (missing == new_blocks) return new_blocks;
    new_blocks = missing;
  }
}

/// True if the refcount table is large enough to reserve that many clusters in one run.
bool Refcounts::has_room_for(std::uint64_t contiguous_clusters) {
  if (contiguous_clusters > 1) {
    return new_blocks_for(end_of_used(), contiguous_clusters).has_value();
  }
  return next_free_ >> geometry_.refcount_block_bits() < table_.size();
}

/// New refcount blocks describe themselves, and would break a run apart: here they lie before it.
std::optional<HostRun> Refcounts::allocate_at_end(std::uint64_t clusters) {
  const std::uint64_t start = end_of_used();
  const std::optional<std::uint64_t> new_blocks = new_blocks_for(start, clusters);
  if (!new_blocks) return std::nullopt;
  const auto block_of = [&](std::uint64_t c) { return c >> geometry_.refcount_block_bits(); };
  const std::uint64_t first = start + *new_blocks;
  require_allocatable(first + clusters - 1);
  std::uint64_t place = start;
  for (std::uint64_t block = block_of(start); place < first; ++block) {
    if (table_[block] == 0) create_block(block, place++);
  }
  for (std::uint64_t c = first; c < first + clusters; ++c) {
    require_allocatable(c);
    set(c, 1);
  }
  const bool reads_as_zero = first >= untouched_from_;
  if (untouched_from_ != ~std::uint64_t{0}) {
    untouched_from_ = std::max(untouched_from_, first + clusters);
  }
  return HostRun{cluster_offset(first), clusters, reads_as_zero};
}

std::optional<HostRun> Refcounts::allocate_contiguous(std::uint64_t clusters) {
  raise_update();
  const MutexLock lock(mutex_);
  const std::optional<HostRun> run = allocate_locked(clusters);
  if (!run || run->clusters == clusters) return run;
  release_locked(run->host_offset, run->clusters * geometry_.cluster_size());
  return allocate_at_end(clusters);
}

std::optional<HostOffset> Refcounts::allocate_bytes(std::uint64_t bytes) {
  assert(bytes > 0 && bytes < geometry_.cluster_size());
  raise_update();
  const MutexLock lock(mutex_);
  const std::uint64_t current = byte_cursor_ >> geometry_.cluster_bits();
  const std::uint64_t room =
      byte_cursor_ == 0 ? 0 : geometry_.cluster_size() - geometry_.in_cluster(byte_cursor_);
  const bool may_share = room > 0 && get(current) < geometry_.refcount_max();
  std::optional<HostRun> next;
  if (!may_share || bytes > room) {
    next = allocate_locked(1);
    if (!next) return std::nullopt;
  }
  const bool straddles = may_share && next && next->host_offset == cluster_offset(current + 1);
  HostOffset at = next && !straddles ? next->host_offset : HostOffset{byte_cursor_};
  if (!next || straddles) set(current, get(current) + 1);
  byte_cursor_ = (at + bytes).value;
  if (geometry_.in_cluster(byte_cursor_) == 0) byte_cursor_ = 0;
  return at;
}

}  // namespace qcowkit::qcow2
