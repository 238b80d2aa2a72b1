#include "formats/metadata_cache.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace qcowkit {

MetadataCache::MetadataCache(std::size_t slice_bytes, std::size_t slices_max)
    : slice_bytes_(slice_bytes), slices_max_(std::max<std::size_t>(slices_max, 4)), index_(64) {}

std::size_t MetadataCache::home_of(std::uint64_t host_offset) const noexcept {
  const std::uint64_t mixed = (host_offset / slice_bytes_) * 0x9e3779b97f4a7c15;
  return static_cast<std::size_t>(mixed >> 20) & (index_.size() - 1);
}

MetadataCache::Slice* MetadataCache::find(std::uint64_t host_offset) noexcept {
  for (std::size_t i = home_of(host_offset);; i = (i + 1) & (index_.size() - 1)) {
    if (index_[i].slot == kEmpty) return nullptr;
    if (index_[i].host_offset != host_offset) continue;
    Slice& slice = slots_[index_[i].slot];
    // A store only where it changes something: readers in parallel do not fight for the line.
    if (!slice.referenced_.load(std::memory_order_relaxed)) {
      slice.referenced_.store(true, std::memory_order_relaxed);
    }
    return &slice;
  }
}

MetadataCache::Slice& MetadataCache::insert(std::uint64_t host_offset, Buffer&& data) {
  assert(data.size() == slice_bytes_);
  std::uint32_t slot = 0;
  if (!free_slots_.empty()) {
    slot = free_slots_.back();
    free_slots_.pop_back();
  } else {
    Slice* victim = slots_.size() < slices_max_ ? nullptr : find_victim();
    if (victim != nullptr) {
      if (victim->in_use_) index_erase(victim->host_offset_);
      slot = static_cast<std::uint32_t>(clock_hand_);
    } else {
      slot = static_cast<std::uint32_t>(slots_.size());
      slots_.emplace_back();
    }
  }
  Slice& slice = slots_[slot];
  slice.host_offset_ = host_offset;
  slice.data_ = std::move(data);
  slice.referenced_.store(true, std::memory_order_relaxed);
  slice.dirty_ = false;
  slice.being_written_ = false;
  slice.in_use_ = true;
  if ((indexed_ + 1) * 2 > index_.size()) index_grow();
  index_insert(host_offset, slot);
  return slice;
}

MetadataCache::Slice* MetadataCache::find_victim() noexcept {
  // Two rounds: the first takes the second chance away.
  for (std::size_t step = 0; step < 2 * slots_.size(); ++step) {
    clock_hand_ = clock_hand_ + 1 < slots_.size() ? clock_hand_ + 1 : 0;
    Slice& slice = slots_[clock_hand_];
    if (slice.dirty_ || slice.being_written_) continue;
    if (!slice.in_use_) return &slice;
    if (slice.referenced_.exchange(false, std::memory_order_relaxed)) continue;
    return &slice;
  }
  return nullptr;
}

void MetadataCache::mark_dirty(Slice& slice) {
  if (slice.dirty_) return;
  dirty_.push_back(&slice);
  slice.dirty_ = true;
}

std::vector<MetadataCache::Slice*> MetadataCache::begin_write(bool only_idle) {
  std::vector<Slice*> taken;
  std::vector<Slice*> left;
  for (Slice* slice : dirty_) {
    if (only_idle && slice->being_written_) {
      left.push_back(slice);
      continue;
    }
    slice->dirty_ = false;
    slice->being_written_ = true;
    taken.push_back(slice);
  }
  dirty_ = std::move(left);
  return taken;
}

void MetadataCache::end_write(const std::vector<Slice*>& slices, bool succeeded) {
  for (Slice* slice : slices) {
    slice->being_written_ = false;
    if (!succeeded && slice->in_use_) mark_dirty(*slice);
  }
}

void MetadataCache::forget(std::uint64_t host_offset) noexcept {
  for (std::size_t i = home_of(host_offset); index_[i].slot != kEmpty;
       i = (i + 1) & (index_.size() - 1)) {
    if (index_[i].host_offset != host_offset) continue;
    const std::uint32_t slot = index_[i].slot;
    Slice& slice = slots_[slot];
    if (slice.dirty_) std::erase(dirty_, &slice);
    slice.dirty_ = false;
    slice.in_use_ = false;
    index_erase(host_offset);
    // A slice that is being written keeps its place until `end_write` has seen it.
    if (!slice.being_written_) free_slots_.push_back(slot);
    return;
  }
}

void MetadataCache::drop_unused() noexcept {
  for (Slice& slice : slots_) {
    if (!slice.in_use_ || slice.dirty_ || slice.being_written_) continue;
    if (slice.referenced_.exchange(false, std::memory_order_relaxed)) continue;
    forget(slice.host_offset_);
    slice.data_ = Buffer();
  }
}

void MetadataCache::clear() noexcept {
  slots_.clear();
  free_slots_.clear();
  dirty_.clear();
  std::fill(index_.begin(), index_.end(), IndexEntry{});
  indexed_ = 0;
  clock_hand_ = 0;
}

void MetadataCache::index_insert(std::uint64_t host_offset, std::uint32_t slot) noexcept {
  std::size_t i = home_of(host_offset);
  while (index_[i].slot != kEmpty) i = (i + 1) & (index_.size() - 1);
  index_[i] = {host_offset, slot};
  ++indexed_;
}

void MetadataCache::index_erase(std::uint64_t host_offset) noexcept {
  const std::size_t mask = index_.size() - 1;
  std::size_t hole = home_of(host_offset);
  while (index_[hole].host_offset != host_offset || index_[hole].slot == kEmpty) {
    hole = (hole + 1) & mask;
  }
  // Move later members of the probe chain forward, so that no tombstone is needed.
  for (std::size_t i = (hole + 1) & mask; index_[i].slot != kEmpty; i = (i + 1) & mask) {
    const std::size_t home = home_of(index_[i].host_offset);
    if (((i - home) & mask) >= ((i - hole) & mask)) {
      index_[hole] = index_[i];
      hole = i;
    }
  }
  index_[hole] = {};
  --indexed_;
}

void MetadataCache::index_grow() {
  const std::vector<IndexEntry> old =
      std::exchange(index_, std::vector<IndexEntry>(index_.size() * 2));
  indexed_ = 0;
  for (const IndexEntry& entry : old) {
    if (entry.slot != kEmpty) index_insert(entry.host_offset, entry.slot);
  }
}

}  // namespace qcowkit
