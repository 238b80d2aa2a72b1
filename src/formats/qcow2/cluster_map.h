// Where guest clusters are: the active L1 table and its L2 tables (qcow2 spec, Cluster mapping).
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
#include "formats/qcow2/header.h"
#include "formats/qcow2/l1_entry.h"
#include "formats/qcow2/l2_entry.h"
#include "formats/qcow2/overlap_guard.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

/// Thread-safe. Look-ups that the cache can answer run in parallel and make no system call.
class ClusterMap {
 public:
  /// `data_storage` is where standard clusters lie (the image itself or its external data file).
  /// `guard` knows where guest data must not be written; it hears of new L2 tables.
  /// `slice_bytes`: how much of a table is cached at once, a power of two; 0: the default.
  ClusterMap(Storage& storage, Storage* data_storage, OverlapGuard& guard, const L2Rules& rules,
             std::uint64_t cache_bytes, std::uint64_t slice_bytes = 0);

  /// Reads the L1 table that the header names. Nobody may be using `rules()` meanwhile. Throws
  /// `Error` (corrupt).
  void load(const Header& header);

  /// A copy of the L1 table.
  std::vector<std::uint64_t> l1_table() const;
  /// Another L1 table is on the disk, or L2 tables there have been changed: cached slices are
  /// forgotten. Everything is on the disk, and only readers are here.
  void adopt(std::vector<std::uint64_t> l1_table, const Header& header);

  const L2Rules& rules() const noexcept { return rules_; }

  /// How the range's first byte is stored, and how long that holds. Throws `Error` (corrupt), I/O
  /// errors.
  LayerExtent find(GuestOffset guest_offset, std::uint64_t length_bytes);
  /// The same for what follows, run by run, until `into` is full or the range ends. Returns how
  /// many runs there are.
  std::size_t find_runs(GuestOffset guest_offset, std::uint64_t length_bytes,
                        std::span<LayerExtent> into);

  /// What an entry means. Throws `Error` (corrupt) if it is invalid.
  L2Mapping decode(RawL2Entry raw, GuestOffset guest_offset) const;

  /// The longest run from `guest_offset` on that may be overwritten where it is; nothing if the
  /// first byte may not. Throws `Error` (corrupt) if it lies where the header, the L1 table or the
  /// refcount table do.
  struct InPlaceRun {
    HostOffset host_offset{};
    std::uint64_t length_bytes = 0;
  };
  InPlaceRun find_in_place(GuestOffset guest_offset, std::uint64_t length_bytes);

  /// Throws `Error` (corrupt) if host clusters that the guest range has, and that are about to be
  /// written, lie where the header, the L1 table or the refcount table do.
  void require_reusable(GuestOffset guest_offset, HostOffset host_offset,
                        std::uint64_t length_bytes);

  /// True if the L1 table has an entry for the offset (it need not have a table).
  bool covers(GuestOffset guest_offset) const;

  /// Copies of the entries of `into.size()` clusters, all in one L2 table. Zeroes if there is no
  /// table. Returns whether the table exists and may be changed in place.
  bool read_entries(GuestOffset first_cluster, std::span<RawL2Entry> into);

  /// True if the guest range's L2 table exists and may be changed in place. Throws `Error`
  /// (corrupt) if it lies where the header, the L1 table or the refcount table do.
  bool has_own_table(GuestOffset guest_offset);
  /// Puts a table in place for the L1 entry of `guest_offset`: an empty one or, where the present
  /// one is shared, a copy. `new_table` is a reserved cluster. Returns the table that is no longer
  /// used, if there was one. Calls for the same L1 entry are made one after the other.
  std::optional<HostOffset> install_table(GuestOffset guest_offset, HostOffset new_table);

  /// How many L1 entries from that of `guest_offset` on, at most `entries_max`, have no table.
  std::uint64_t entries_without_table(GuestOffset guest_offset, std::uint64_t entries_max) const;
  /// Gives `tables` L1 entries, from that of `guest_offset` on, which have none, a table each. The
  /// tables have been written, side by side from `first_table` on. If it throws, nothing points at
  /// them.
  void link_tables(GuestOffset guest_offset, HostOffset first_table, std::uint64_t tables);

  /// Replaces the entries from `first_cluster` on, all in one L2 table that is our own. Strong
  /// guarantee per cache slice: on an error a prefix has been replaced; its length in clusters is
  /// stored in `replaced`.
  void replace_entries(GuestOffset first_cluster, std::span<const RawL2Entry> entries,
                       std::size_t& replaced);

  /// Gives back the memory of what is cached and was not used since the last call.
  void drop_unused();

  /// True when enough is dirty for a write-back to be due.
  bool wants_write_back() const noexcept {
    return wants_write_back_.load(std::memory_order_relaxed);
  }

  /// For the write-back; see `CachedTables`.
  using Dirty = CachedTables::Dirty;
  Dirty begin_write();
  void end_write(Dirty& dirty);

 private:
  static constexpr std::uint64_t kSliceBytesDefault = 4096;

  std::uint64_t slice_offset(L1Entry entry, GuestOffset guest_offset) const noexcept;
  std::uint64_t entries_per_slice() const noexcept {
    return slice_bytes_ >> rules_.geometry.l2_entry_bits();
  }
  std::uint64_t index_in_slice(GuestOffset guest_offset) const noexcept {
    return rules_.geometry.l2_index(guest_offset) & (entries_per_slice() - 1);
  }
  L1Entry l1_entry(GuestOffset guest_offset) const REQUIRES_SHARED(mutex_);
  void require_own_place(const L2Mapping& mapping, GuestOffset guest_offset) const;
  /// Reads a slice into the cache. Takes the lock itself, but does not hold it while reading.
  void load_slice(std::uint64_t slice_host_offset, std::uint64_t generation) EXCLUDES(mutex_);
  /// One attempt under the lock; names the slice that is needed and not in the cache, if any.
  enum class Purpose { read, overwrite };
  std::optional<std::uint64_t> try_find(GuestOffset guest_offset, std::uint64_t length_bytes,
                                        Purpose purpose, LayerExtent& extent)
      REQUIRES_SHARED(mutex_);
  LayerExtent find_for(Purpose purpose, GuestOffset guest_offset, std::uint64_t length_bytes);
  /// As `find_runs`, but at least one run is looked for: `into` is not empty.
  std::size_t find_runs_for(Purpose purpose, GuestOffset guest_offset, std::uint64_t length_bytes,
                            std::span<LayerExtent> into);
  std::uint64_t extend_run(GuestOffset guest_offset, std::uint64_t length_bytes, Purpose purpose,
                           const LayerExtent& extent, RawL2Entry first) REQUIRES_SHARED(mutex_);
  std::uint64_t unallocated_run(GuestOffset guest_offset, std::uint64_t length_bytes) const
      REQUIRES_SHARED(mutex_);
  void note_dirty_count() REQUIRES(mutex_) {
    wants_write_back_.store(tables_.is_write_back_due(), std::memory_order_relaxed);
  }
  void require_unprotected(GuestOffset guest_offset, HostOffset host_offset,
                           std::uint64_t length_bytes) const;

  // Constant after construction.
  Storage& storage_;
  Storage* const data_storage_;
  OverlapGuard& guard_;
  const std::uint64_t slice_bytes_;

  L2Rules rules_;  // changed by `load` only

  std::atomic<bool> wants_write_back_{false};

  mutable SharedMutex mutex_;
  CachedTables tables_ GUARDED_BY(mutex_);
};

}  // namespace qcowkit::qcow2
