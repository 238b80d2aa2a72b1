// A bounded cache of equal slices of metadata tables, by host offset.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "base/buffer.h"

namespace qcowkit {

/// Slices of L2 tables or of refcount blocks, as they are on disk. Does no I/O and takes no lock:
/// the owner guards it. `find` may run in many threads at once while nothing else does.
///
/// A slice is clean, dirty (newer than the disk) or being written (a copy is on its way to the
/// disk). Only clean slices are dropped to make room.
class MetadataCache {
 public:
  /// Of a slice's memory. Aligned to a page, slices of 4 KiB would take twice as much of it.
  static constexpr std::size_t kAlignment = 512;

  class Slice {
   public:
    std::uint64_t host_offset() const noexcept { return host_offset_; }
    std::byte* data() noexcept { return data_.data(); }
    const std::byte* data() const noexcept { return data_.data(); }
    bool is_dirty() const noexcept { return dirty_; }

   private:
    friend class MetadataCache;
    std::uint64_t host_offset_ = 0;
    Buffer data_;
    std::atomic<bool> referenced_{false};  // for the clock; set under a shared lock
    bool dirty_ = false;
    bool being_written_ = false;
    bool in_use_ = false;
  };

  MetadataCache(std::size_t slice_bytes, std::size_t slices_max);

  std::size_t slice_bytes() const noexcept { return slice_bytes_; }
  std::size_t slices_max() const noexcept { return slices_max_; }

  /// Null if the slice is not here.
  Slice* find(std::uint64_t host_offset) noexcept;

  /// Puts a slice in, which must not be here yet, dropping a clean one where the bound is reached
  /// (where there is none, the bound is exceeded for now). Takes `data`, of `slice_bytes()` bytes.
  Slice& insert(std::uint64_t host_offset, Buffer&& data);

  void mark_dirty(Slice& slice);
  std::size_t dirty_count() const noexcept { return dirty_.size(); }

  /// Takes the list of dirty slices; they count as being written from now on. With `only_idle`
  /// those of which an older copy is still on its way to the disk are left out.
  std::vector<Slice*> begin_write(bool only_idle = false);
  /// Ends what `begin_write` began; the slices are dirty again if it did not succeed.
  void end_write(const std::vector<Slice*>& slices, bool succeeded);

  /// Forgets a slice, dirty or not (the table has been given up).
  void forget(std::uint64_t host_offset) noexcept;
  /// Forgets clean slices that were not found since the last call, and gives their memory back.
  void drop_unused() noexcept;
  /// Forgets everything.
  void clear() noexcept;

 private:
  Slice* find_victim() noexcept;
  void index_insert(std::uint64_t host_offset, std::uint32_t slot) noexcept;
  void index_erase(std::uint64_t host_offset) noexcept;
  void index_grow();
  std::size_t home_of(std::uint64_t host_offset) const noexcept;

  static constexpr std::uint32_t kEmpty = 0xffffffff;
  struct IndexEntry {
    std::uint64_t host_offset = 0;
    std::uint32_t slot = kEmpty;
  };

  std::size_t slice_bytes_;
  std::size_t slices_max_;
  std::deque<Slice> slots_;
  std::vector<std::uint32_t> free_slots_;
  std::vector<IndexEntry> index_;  // open addressing, linear probing, size a power of two
  std::size_t indexed_ = 0;
  std::vector<Slice*> dirty_;
  std::size_t clock_hand_ = 0;
};

}  // namespace qcowkit
