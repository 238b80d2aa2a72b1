// Where guest clusters are: the L1 table and its L2 tables (docs/qcow1.md, Tables).
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "base/offsets.h"
#include "formats/cached_tables.h"
#include "formats/layer.h"
#include "formats/qcow1/header.h"
#include "formats/qcow1/l2_entry.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow1 {

/// Thread-safe. Look-ups that the cache can answer run in parallel and make no system call.
class ClusterMap {
 public:
  /// Reads the L1 table, which lies inside the file. `cache_bytes` bounds what is kept of L2
  /// tables.
  ClusterMap(Storage& storage, const Header& header, std::uint64_t cache_bytes);

  const Geometry& geometry() const noexcept { return geometry_; }
  /// What the entry for `guest_offset` means. Throws `Error` (corrupt) if it means nothing.
  L2Mapping decode(std::uint64_t raw, GuestOffset guest_offset) const;

  /// How the range's first byte is stored, and how long that holds. Throws `Error` (corrupt), I/O
  /// errors.
  LayerExtent find(GuestOffset guest_offset, std::uint64_t length_bytes);

  /// The longest run from `guest_offset` on that may be overwritten where it is; nothing if the
  /// first byte may not. Throws `Error` (corrupt) if it lies where the header or the L1 table do.
  struct InPlaceRun {
    HostOffset host_offset{};
    std::uint64_t length_bytes = 0;
  };
  InPlaceRun find_in_place(GuestOffset guest_offset, std::uint64_t length_bytes);

  /// Copies of the entries of `into.size()` clusters, all in one L2 table. Zeroes if there is no
  /// table.
  void read_entries(GuestOffset first_cluster, std::span<std::uint64_t> into);

  bool has_table(GuestOffset guest_offset);
  /// Puts an empty table in place for the L1 entry of `guest_offset`, which has none. `new_table`
  /// is reserved. Calls are made one after the other.
  void install_table(GuestOffset guest_offset, HostOffset new_table);

  /// Replaces the entries from `first_cluster` on, all in one L2 table, which exists. Strong
  /// guarantee per cache slice: on an error a prefix has been replaced; its length in clusters is
  /// stored in `replaced`.
  void replace_entries(GuestOffset first_cluster, std::span<const std::uint64_t> entries,
                       std::size_t& replaced);

  /// Forgets all that is cached, dirty or not, and reads the L1 table again.
  void reload();
  /// The L1 table on the disk has become empty.
  void forget_all();

  /// True when enough is dirty for a write-back to be due.
  bool wants_write_back() const noexcept {
    return wants_write_back_.load(std::memory_order_relaxed);
  }

  /// For the write-back; see `CachedTables`.
  using Dirty = CachedTables::Dirty;
  Dirty begin_write();
  void end_write(Dirty& dirty);

 private:
  std::uint64_t slice_offset(std::uint64_t table, GuestOffset guest_offset) const noexcept {
    return table + align_down(geometry_.l2_index(guest_offset) * 8, slice_bytes_);
  }
  std::uint64_t entries_per_slice() const noexcept { return slice_bytes_ / 8; }
  std::uint64_t index_in_slice(GuestOffset guest_offset) const noexcept {
    return geometry_.l2_index(guest_offset) & (entries_per_slice() - 1);
  }
  std::vector<std::uint64_t> read_l1() const;
  void start_from(std::vector<std::uint64_t> l1) EXCLUDES(mutex_);
  /// The host offset of the L2 table, 0 if there is none.
  std::uint64_t table_for(GuestOffset guest_offset) const REQUIRES_SHARED(mutex_);
  /// Reads a slice into the cache. Takes the lock itself, but does not hold it while reading.
  void load_slice(std::uint64_t slice_host_offset, std::uint64_t generation) EXCLUDES(mutex_);
  /// One attempt under the lock; names the slice that is needed and not in the cache, if any.
  std::optional<std::uint64_t> try_find(GuestOffset guest_offset, std::uint64_t length_bytes,
                                        LayerExtent& extent) REQUIRES_SHARED(mutex_);
  std::uint64_t extend_run(GuestOffset guest_offset, std::uint64_t length_bytes, std::uint64_t run,
                           std::uint64_t first) REQUIRES_SHARED(mutex_);
  std::uint64_t unallocated_run(GuestOffset guest_offset, std::uint64_t length_bytes) const
      REQUIRES_SHARED(mutex_);
  bool hits_header(HostOffset host_offset, std::uint64_t length_bytes) const noexcept;
  void note_dirty_count() REQUIRES(mutex_) {
    wants_write_back_.store(tables_.is_write_back_due(), std::memory_order_relaxed);
  }

  // Constant after construction.
  Storage& storage_;
  const Geometry geometry_;
  const HostOffset l1_offset_;
  const std::uint64_t l1_entries_;
  const bool is_encrypted_;
  const std::uint64_t slice_bytes_;

  std::atomic<bool> wants_write_back_{false};

  SharedMutex mutex_;
  CachedTables tables_ GUARDED_BY(mutex_);
};

}  // namespace qcowkit::qcow1
