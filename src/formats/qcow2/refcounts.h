// Which host clusters are in use: refcount table, refcount blocks, and allocation from them
// (qcow2 spec, Host cluster management).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "base/offsets.h"
#include "formats/metadata_cache.h"
#include "formats/metadata_write.h"
#include "formats/qcow2/epochs.h"
#include "formats/qcow2/geometry.h"
#include "formats/qcow2/header.h"
#include "formats/qcow2/overlap_guard.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

/// Contiguous host clusters that have been reserved (refcount 1) and that nothing points at yet.
struct HostRun {
  HostOffset host_offset{};
  std::uint64_t clusters = 0;
  bool reads_as_zero = false;  ///< lies where nothing has ever been written
};

/// What a cluster is freed by: that decides whether the storage hears of it.
enum class FreedBy : std::uint8_t {
  other,
  request,   ///< of the guest, to discard a range or to zero it and give it back
  snapshot,  ///< that is deleted or applied
};

/// Contiguous clusters that have become free.
struct FreedRun {
  HostOffset host_offset{};
  std::uint64_t clusters = 0;
  FreedBy by = FreedBy::other;
};

/// Host bytes that something refers to; it need not begin or end with a cluster.
struct HostRange {
  HostOffset host_offset{};
  std::uint64_t bytes = 0;
};

/// Thread-safe. Raising a refcount happens in memory at once; lowering one that the disk may still
/// point at waits (`defer_free`) until the write-back has made the unlinking durable and no
/// reader is left who may hold the old mapping.
class Refcounts {
 public:
  /// `guard` knows where clusters must not be reserved; it hears of new refcount structures.
  Refcounts(Storage& storage, OverlapGuard& guard, const Geometry& geometry,
            std::uint64_t cache_bytes);

  /// Reads the refcount table that the header names. Throws `Error` (corrupt).
  void load(const Header& header);

  /// Reserves 1 to `clusters_max` contiguous clusters, the first free ones. Nothing, if the
  /// refcount table has to grow first (see `grow_table`). Throws `Error`: no space on a device
  /// that cannot grow, corrupt.
  std::optional<HostRun> allocate(std::uint64_t clusters_max);
  /// Reserves exactly `clusters` contiguous clusters, which lie behind all others unless there is
  /// room before. Nothing, and throws, as `allocate`.
  std::optional<HostRun> allocate_contiguous(std::uint64_t clusters);
  /// Reserves room for a compressed stream of less than a cluster, behind the one before where
  /// possible; streams share clusters. Nothing as with `allocate`.
  std::optional<HostOffset> allocate_bytes(std::uint64_t bytes);

  /// Gives back what was reserved and never pointed at.
  void release(HostOffset host_offset, std::uint64_t bytes) noexcept;
  /// Counts down the clusters that the range touches once that is safe.
  void defer_free(HostOffset host_offset, std::uint64_t bytes, FreedBy by = FreedBy::other);
  bool has_deferred_frees() const;
  /// Gives back the memory of what is cached and was not used since the last call.
  void drop_unused();

  /// Counts one more reference to each cluster of each range. On an error nothing has changed.
  /// Throws `Error`: limit_exceeded where a refcount cannot get larger, corrupt.
  void add_references(std::span<const HostRange> ranges);
  /// Counts one reference less to each cluster of each range, none of which the disk makes any
  /// more. Clusters that lose their last one are freed as by `defer_free`.
  void drop_references(std::span<const HostRange> ranges, FreedBy by = FreedBy::other);

  /// Behind the last cluster that is in use.
  HostOffset end_of_used_clusters();
  /// The storage has been cut off at its end: what comes behind reads as zeroes.
  void note_storage_size(std::uint64_t bytes);

  std::uint64_t refcount_of(HostOffset host_offset);
  /// The refcounts of `into.size()` clusters from `host_offset` on.
  void refcounts_of(HostOffset host_offset, std::span<std::uint64_t> into);

  // For the write-back, which calls these in this order and is the only caller.

  /// The frees whose unlinking the coming metadata writes make durable.
  struct DeferredFree {
    HostOffset host_offset;
    std::uint64_t bytes;
    FreedBy by = FreedBy::other;
    std::uint64_t epoch = 0;
  };
  std::vector<DeferredFree> take_deferred_frees();
  void return_deferred_frees(std::vector<DeferredFree> frees);

  /// Copies of all dirty slices, and the refcount table entries that point at new blocks.
  struct Dirty {
    MetadataWrites blocks;
    MetadataWrites table;
    std::vector<MetadataCache::Slice*> slices;
    std::vector<std::uint64_t> new_blocks;
  };
  Dirty begin_write();
  void end_write(Dirty& dirty, bool succeeded);

  /// Counts down what has been freed durably and is out of every reader's sight; `on_free` hears
  /// of each run of clusters that is about to become free, before it can be reserved again.
  template <typename OnFree>
  void reclaim(std::vector<DeferredFree> frees, Epochs& epochs, OnFree on_free) {
    for (DeferredFree& free : frees) {
      free.epoch = epochs.current();
      waiting_for_readers_.push_back(free);
    }
    epochs.try_advance();
    epochs.try_advance();
    std::vector<DeferredFree> ready;
    std::erase_if(waiting_for_readers_, [&](const DeferredFree& free) {
      const bool is_ready = epochs.current() >= free.epoch + 2;
      if (is_ready) ready.push_back(free);
      return is_ready;
    });
    for (const FreedRun& run : count_runs_becoming_free(ready)) on_free(run);
    count_down(ready);
  }
  /// True while frees wait for readers to finish.
  bool has_waiting_frees() const noexcept { return !waiting_for_readers_.empty(); }

  /// Writes all refcounts anew with another width (2^`refcount_order` bits). Nothing may be on its
  /// way to the disk. The new table and blocks are durable before `switch_table(offset, clusters)`
  /// is called, which makes the header tell of them durably. Throws `Error`: limit_exceeded (naming
  /// the cluster) if a refcount is too large for it; then nothing has changed.
  template <typename SwitchTable>
  void change_width(std::uint32_t refcount_order, SwitchTable switch_table) {
    const MutexLock lock(mutex_);
    const GrownTable rebuilt = write_with_width(refcount_order);
    switch_table(rebuilt.host_offset, rebuilt.clusters);
    adopt_with_width(rebuilt, refcount_order);
  }

  /// Makes the refcount table larger, if there was no room for so many contiguous clusters. Once
  /// may not be enough for many. Nothing may be dirty or on its way to the disk. The new table and
  /// blocks are durable before `switch_table(offset, clusters)` is called, which makes the header
  /// point there durably.
  template <typename SwitchTable>
  void grow_table(std::uint64_t contiguous_clusters, SwitchTable switch_table) {
    const MutexLock lock(mutex_);
    if (has_room_for(contiguous_clusters)) return;  // somebody else was faster
    const GrownTable grown = write_grown_table();
    switch_table(grown.host_offset, grown.clusters);
    adopt_grown_table(grown);
  }

 private:
  struct GrownTable {
    HostOffset host_offset;
    std::uint32_t clusters;
    std::vector<std::uint64_t> entries;
    std::uint64_t end_cluster;
  };

  std::uint64_t cluster_index(HostOffset o) const noexcept {
    return o.value >> geometry_.cluster_bits();
  }
  /// The index behind the last cluster that the range touches.
  std::uint64_t end_cluster(HostOffset o, std::uint64_t bytes) const noexcept {
    return geometry_.clusters_for(o.value + bytes);
  }
  HostOffset cluster_offset(std::uint64_t index) const noexcept {
    return {index << geometry_.cluster_bits()};
  }
  bool has_block(std::uint64_t block) const REQUIRES(mutex_) {
    return block < table_.size() && table_[block] != 0;
  }
  void raise_update() const;
  MetadataCache::Slice& slice_with(std::uint64_t cluster) REQUIRES(mutex_);
  MetadataCache::Slice& insert_slice(std::uint64_t host_offset, Buffer&& data) REQUIRES(mutex_);
  std::uint64_t get(std::uint64_t cluster) REQUIRES(mutex_);
  void set(std::uint64_t cluster, std::uint64_t refcount) REQUIRES(mutex_);
  void count_down_cluster(std::uint64_t cluster) REQUIRES(mutex_);
  template <typename Visit>
  void for_each_part(std::uint64_t first, std::uint64_t end, Visit visit) REQUIRES(mutex_);
  [[noreturn]] void refuse_to_count_up(std::uint64_t cluster, std::uint64_t refcount) const;
  void count_up(std::uint64_t first, std::uint64_t end, std::uint64_t& done) REQUIRES(mutex_);
  void drop(std::uint64_t first, std::uint64_t end, FreedBy by) REQUIRES(mutex_);
  void defer_free_locked(HostOffset host_offset, std::uint64_t bytes, FreedBy by) REQUIRES(mutex_);

  std::uint64_t take_free(std::uint64_t first, std::uint64_t end) REQUIRES(mutex_);
  std::uint64_t end_of_allocatable(std::uint64_t first, std::uint64_t end) const REQUIRES(mutex_);

  std::optional<std::uint64_t> find_free() REQUIRES(mutex_);
  std::uint64_t skip_used(std::uint64_t cluster, std::uint64_t end) REQUIRES(mutex_);
  void create_block(std::uint64_t block, std::uint64_t cluster) REQUIRES(mutex_);
  void require_allocatable(std::uint64_t cluster) const REQUIRES(mutex_);
  std::optional<HostRun> allocate_locked(std::uint64_t clusters_max) REQUIRES(mutex_);
  void release_locked(HostOffset host_offset, std::uint64_t bytes) noexcept REQUIRES(mutex_);
  std::uint64_t end_of_used() REQUIRES(mutex_);
  bool has_room_for(std::uint64_t contiguous_clusters) REQUIRES(mutex_);
  std::optional<std::uint64_t> new_blocks_for(std::uint64_t start, std::uint64_t clusters) const
      REQUIRES(mutex_);
  std::optional<HostRun> allocate_at_end(std::uint64_t clusters) REQUIRES(mutex_);

  std::vector<FreedRun> count_runs_becoming_free(const std::vector<DeferredFree>& frees);
  void count_down(const std::vector<DeferredFree>& frees);
  std::vector<std::uint64_t> blocks_in_use(const Geometry& g, std::uint64_t end_cluster)
      REQUIRES(mutex_);
  GrownTable write_with_width(std::uint32_t refcount_order) REQUIRES(mutex_);
  void adopt_with_width(const GrownTable& rebuilt, std::uint32_t refcount_order) REQUIRES(mutex_);
  GrownTable write_grown_table() REQUIRES(mutex_);
  void adopt_grown_table(const GrownTable& grown) REQUIRES(mutex_);

  Storage& storage_;
  OverlapGuard& guard_;
  Geometry geometry_;  // changed by `load` only, when nobody else is here

  // Only the write-back touches it.
  std::vector<DeferredFree> waiting_for_readers_;

  mutable Mutex mutex_;
  std::vector<std::uint64_t> table_ GUARDED_BY(mutex_);  // offsets of refcount blocks, 0: none
  HostOffset table_offset_ GUARDED_BY(mutex_){};
  std::vector<std::uint64_t> new_blocks_ GUARDED_BY(mutex_);  // not in the table on disk yet
  MetadataCache blocks_ GUARDED_BY(mutex_);
  std::uint64_t next_free_ GUARDED_BY(mutex_) = 0;       // no cluster below it is free
  std::uint64_t untouched_from_ GUARDED_BY(mutex_) = 0;  // clusters from here on were never written
  // Where the next compressed stream may go; 0: nowhere.
  std::uint64_t byte_cursor_ GUARDED_BY(mutex_) = 0;
  std::vector<DeferredFree> deferred_ GUARDED_BY(mutex_);
};

}  // namespace qcowkit::qcow2
