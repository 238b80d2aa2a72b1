#include "formats/qcow2/refcounts.h"

#include <fmt/core.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "formats/qcow2/corrupt_image.h"
#include "formats/qcow2/limits.h"
#include "formats/qcow2/refcount_block.h"

namespace qcowkit::qcow2 {

namespace {

constexpr std::uint64_t kSliceBytes = 4096;

}  // namespace

Refcounts::Refcounts(Storage& storage, OverlapGuard& guard, const Geometry& geometry,
                     std::uint64_t cache_bytes)
    : storage_(storage),
      guard_(guard),
      geometry_(geometry),
      blocks_(std::min(kSliceBytes, geometry.cluster_size()),
              cache_bytes / std::min(kSliceBytes, geometry.cluster_size())) {}

void Refcounts::load(const Header& header) {
  const MutexLock lock(mutex_);
  geometry_ = header.geometry();
  const std::uint64_t table_bytes = header.refcount_table_clusters * geometry_.cluster_size();
  const std::uint64_t storage_size = storage_.size();
  // What lies beyond the file's end is zeroes.
  const std::uint64_t present_bytes =
      header.refcount_table_offset.value >= storage_size
          ? 0
          : std::min(table_bytes, align_up(storage_size - header.refcount_table_offset.value, 8));
  table_.assign(table_bytes / 8, 0);
  const std::span<std::uint64_t> present = std::span(table_).first(present_bytes / 8);
  storage_.read(header.refcount_table_offset.value, std::as_writable_bytes(present));
  for (std::uint64_t& entry : present) entry = big_endian(entry) & ~std::uint64_t{0x1ff};
  table_offset_ = header.refcount_table_offset;
  blocks_.clear();
  new_blocks_.clear();
  next_free_ = 0;
  byte_cursor_ = 0;
  deferred_.clear();
  waiting_for_readers_.clear();
  untouched_from_ = storage_.can_grow() ? geometry_.clusters_for(storage_size) : ~std::uint64_t{0};
  guard_.set_refcount_blocks(table_);
}

// --- Single refcounts --------------------------------------------------------------------------

MetadataCache::Slice& Refcounts::slice_with(std::uint64_t cluster) {
  const std::uint64_t block = cluster >> geometry_.refcount_block_bits();
  const std::uint64_t block_offset = table_[block];
  if (geometry_.in_cluster(block_offset) != 0 || block_offset >= kHostOffsetEnd) {
    throw CorruptImage(storage_,
                       fmt::format("refcount table: entry {} is {:#x}, expected a multiple of the "
                                   "cluster size {} below 2^56",
                                   block, block_offset, geometry_.cluster_size()));
  }
  if (const char* structure =
          guard_.hit({block_offset}, geometry_.cluster_size(), overlap::kRefcountBlock)) {
    throw CorruptImage(storage_,
                       fmt::format("refcount table: entry {} is {:#x}, which is where the "
                                   "{} lies",
                                   block, block_offset, structure));
  }
  const std::uint64_t in_block = cluster & (geometry_.refcount_block_entries() - 1);
  const std::uint64_t byte = (in_block << geometry_.refcount_order()) / 8;
  const std::uint64_t slice_offset = block_offset + align_down(byte, blocks_.slice_bytes());
  if (MetadataCache::Slice* slice = blocks_.find(slice_offset)) return *slice;
  Buffer data(blocks_.slice_bytes(), MetadataCache::kAlignment);
  storage_.read(slice_offset, data.span());
  return insert_slice(slice_offset, std::move(data));
}

MetadataCache::Slice& Refcounts::insert_slice(std::uint64_t host_offset, Buffer&& data) {
  // Blocks hold increments, and decrements only once those are safe: they may be written at any
  // time, so that making room needs no barrier.
  if (blocks_.dirty_count() >= blocks_.slices_max() / 2) {
    const std::vector<MetadataCache::Slice*> slices = blocks_.begin_write(true);
    try {
      MetadataWrites writes;
      for (const MetadataCache::Slice* slice : slices) {
        writes.add({slice->host_offset()}, {slice->data(), blocks_.slice_bytes()},
                   Event::refblock_update_part);
      }
      writes.write_to(storage_);
    } catch (...) {
      blocks_.end_write(slices, false);
      throw;
    }
    blocks_.end_write(slices, true);
  }
  return blocks_.insert(host_offset, std::move(data));
}

std::uint64_t Refcounts::get(std::uint64_t cluster) {
  if (!has_block(cluster >> geometry_.refcount_block_bits())) return 0;
  const std::uint64_t per_slice = blocks_.slice_bytes() * 8 >> geometry_.refcount_order();
  return load_refcount(slice_with(cluster).data(), cluster & (per_slice - 1),
                       geometry_.refcount_order());
}

void Refcounts::set(std::uint64_t cluster, std::uint64_t refcount) {
  assert(has_block(cluster >> geometry_.refcount_block_bits()));
  const std::uint64_t per_slice = blocks_.slice_bytes() * 8 >> geometry_.refcount_order();
  MetadataCache::Slice& slice = slice_with(cluster);
  store_refcount(slice.data(), cluster & (per_slice - 1), geometry_.refcount_order(), refcount);
  blocks_.mark_dirty(slice);
  if (refcount == 0) next_free_ = std::min(next_free_, cluster);
}

void Refcounts::count_down_cluster(std::uint64_t cluster) {
  const std::uint64_t refcount = get(cluster);
  if (refcount == 0) return;  // a damaged image; `check` tells
  set(cluster, refcount - 1);
  if (refcount == 1 && byte_cursor_ != 0 && byte_cursor_ >> geometry_.cluster_bits() == cluster) {
    byte_cursor_ = 0;  // the cluster may be reserved for something else from now on
  }
}

std::uint64_t Refcounts::refcount_of(HostOffset host_offset) {
  const MutexLock lock(mutex_);
  return get(cluster_index(host_offset));
}

// --- Giving back -------------------------------------------------------------------------------

void Refcounts::release(HostOffset host_offset, std::uint64_t bytes) noexcept {
  const MutexLock lock(mutex_);
  release_locked(host_offset, bytes);
}

void Refcounts::release_locked(HostOffset host_offset, std::uint64_t bytes) noexcept {
  try {
    const std::uint64_t end = end_cluster(host_offset, bytes);
    for (std::uint64_t c = cluster_index(host_offset); c < end; ++c) count_down_cluster(c);
  } catch (const std::exception&) {
    // The refcount block cannot be read any more: the clusters leak, which `check` mends.
  }
}

void Refcounts::defer_free(HostOffset host_offset, std::uint64_t bytes, FreedBy by) {
  storage_.raise(Event::cluster_free, host_offset.value, bytes);
  raise_update();
  const MutexLock lock(mutex_);
  defer_free_locked(host_offset, bytes, by);
}

void Refcounts::defer_free_locked(HostOffset host_offset, std::uint64_t bytes, FreedBy by) {
  // A damaged image may map guest clusters to where the header or a table lies: those stay. But a
  // table that the disk and a snapshot shared goes on with one reference less.
  if (guard_.hit(host_offset, bytes, overlap::kInactiveL2) != nullptr) return;
  if (!deferred_.empty()) {
    DeferredFree& last = deferred_.back();
    const bool whole_clusters = geometry_.in_cluster(host_offset.value) == 0 &&
                                geometry_.in_cluster((last.host_offset + last.bytes).value) == 0;
    if (whole_clusters && last.by == by && last.host_offset + last.bytes == host_offset) {
      last.bytes += bytes;
      return;
    }
  }
  deferred_.push_back({host_offset, bytes, by});
}

bool Refcounts::has_deferred_frees() const {
  const MutexLock lock(mutex_);
  return !deferred_.empty();
}

std::vector<Refcounts::DeferredFree> Refcounts::take_deferred_frees() {
  const MutexLock lock(mutex_);
  return std::exchange(deferred_, {});
}

void Refcounts::return_deferred_frees(std::vector<DeferredFree> frees) {
  const MutexLock lock(mutex_);
  deferred_.insert(deferred_.begin(), frees.begin(), frees.end());
}

void Refcounts::drop_unused() {
  const MutexLock lock(mutex_);
  blocks_.drop_unused();
}

std::vector<FreedRun> Refcounts::count_runs_becoming_free(const std::vector<DeferredFree>& frees) {
  const MutexLock lock(mutex_);
  std::vector<std::pair<std::uint64_t, FreedBy>> clusters;
  for (const DeferredFree& free : frees) {
    const std::uint64_t end = end_cluster(free.host_offset, free.bytes);
    for (std::uint64_t c = cluster_index(free.host_offset); c < end; ++c) {
      clusters.emplace_back(c, free.by);
    }
  }
  std::sort(clusters.begin(), clusters.end());
  std::vector<FreedRun> runs;
  for (std::size_t i = 0; i < clusters.size();) {
    const auto [cluster, by] = clusters[i];
    std::uint64_t count = 0;
    for (; i < clusters.size() && clusters[i].first == cluster; ++i) ++count;
    if (get(cluster) != count) continue;  // somebody else uses it, too
    // No compressed stream may join it any more.
    if (byte_cursor_ != 0 && byte_cursor_ >> geometry_.cluster_bits() == cluster) byte_cursor_ = 0;
    if (!runs.empty() && runs.back().by == by &&
        runs.back().host_offset + runs.back().clusters * geometry_.cluster_size() ==
            cluster_offset(cluster)) {
      ++runs.back().clusters;
    } else {
      runs.push_back({cluster_offset(cluster), 1, by});
    }
  }
  return runs;
}

void Refcounts::count_down(const std::vector<DeferredFree>& frees) {
  const MutexLock lock(mutex_);
  for (const DeferredFree& free : frees) {
    const std::uint64_t end = end_cluster(free.host_offset, free.bytes);
    for (std::uint64_t c = cluster_index(free.host_offset); c < end; ++c) count_down_cluster(c);
  }
}

// --- Write-back --------------------------------------------------------------------------------

Refcounts::Dirty Refcounts::begin_write() {
  const MutexLock lock(mutex_);
  Dirty dirty;
  dirty.slices = blocks_.begin_write();
  for (const MetadataCache::Slice* slice : dirty.slices) {
    dirty.blocks.add({slice->host_offset()}, {slice->data(), blocks_.slice_bytes()},
                     Event::refblock_update_part);
  }
  dirty.new_blocks = std::exchange(new_blocks_, {});
  for (const std::uint64_t block : dirty.new_blocks) {
    const be64 entry = table_[block];
    dirty.table.add(table_offset_ + block * 8, std::as_bytes(std::span(&entry, 1)),
                    Event::refblock_alloc_hookup);
  }
  return dirty;
}

void Refcounts::end_write(Dirty& dirty, bool succeeded) {
  const MutexLock lock(mutex_);
  blocks_.end_write(dirty.slices, succeeded);
  if (!succeeded) {
    new_blocks_.insert(new_blocks_.end(), dirty.new_blocks.begin(), dirty.new_blocks.end());
  }
}

}  // namespace qcowkit::qcow2
