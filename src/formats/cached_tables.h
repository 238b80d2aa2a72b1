// The tables that say where guest clusters are, in memory: what QCOW and QCOW2 have in common.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/offsets.h"
#include "formats/metadata_cache.h"
#include "formats/metadata_write.h"

namespace qcowkit {

/// The L1 table, cached slices of the L2 tables, and what of both is newer than the disk. Does no
/// I/O and takes no lock: the owner guards it. `l1` and `find` may be called in many threads at
/// once while nothing else is.
class CachedTables {
 public:
  /// A slice is what is cached of a table at once; `cache_bytes` bounds what all of them take.
  CachedTables(std::uint64_t slice_bytes, std::uint64_t cache_bytes);

  /// Another L1 table counts, as integers of this machine. What was cached is forgotten, also where
  /// the disk does not have it yet. All L2 tables have `l2_table_bytes`.
  void start_from(std::vector<std::uint64_t> l1, HostOffset l1_offset,
                  std::uint64_t l2_table_bytes);

  const std::vector<std::uint64_t>& l1() const noexcept { return l1_; }

  /// Null if the slice is not here.
  MetadataCache::Slice* find(std::uint64_t slice_host_offset) noexcept {
    return slices_.find(slice_host_offset);
  }
  /// Call it once its bytes have been changed.
  void mark_dirty(MetadataCache::Slice& slice) { slices_.mark_dirty(slice); }

  /// Moves on whenever table bytes on the disk may have changed.
  std::uint64_t generation() const noexcept { return generation_; }
  /// Puts in a slice that was read from the disk while the owner's lock was not held and
  /// `generation` counted, unless it has become old since.
  void insert_read(std::uint64_t slice_host_offset, Buffer&& bytes, std::uint64_t generation);

  /// Makes the L1 entry `index` be `entry`, which points at an L2 table in a place that is new.
  /// What was known of that place is forgotten. `slice` is a part of the new table, which counts as
  /// changed if `is_dirty`; the others are on the disk.
  struct NewTable {
    HostOffset host_offset;
    std::uint64_t slice_host_offset;
    Buffer slice;
    bool is_dirty;
  };
  void link(std::uint64_t index, std::uint64_t entry, NewTable table);
  /// Makes the L1 entries from `index` on be `entries`, which point at L2 tables in places that are
  /// new and on the disk as a whole, side by side from `first_table` on.
  void link_written(std::uint64_t index, std::span<const std::uint64_t> entries,
                    HostOffset first_table);

  /// True when enough is dirty for a write-back to be due.
  bool is_write_back_due() const noexcept {
    return slices_.dirty_count() * 2 > slices_.slices_max();
  }

  /// Copies of all that is newer than the disk.
  struct Dirty {
    MetadataWrites unlinked;  ///< slices of tables that nothing on the disk points at
    MetadataWrites linked;    ///< slices of tables in use, and parts of the L1 table
    std::vector<MetadataCache::Slice*> slices;
    std::set<std::uint64_t> l1_parts;
    std::set<std::uint64_t> unlinked_tables;  ///< host offsets

    /// How far the write-back has come: whoever makes it keeps this true.
    enum class Stage { begun, tables_durable, done };
    Stage stage = Stage::begun;
  };
  Dirty begin_write();
  /// What is not done, as `dirty.stage` says, is dirty again.
  void end_write(Dirty& dirty);

  /// Gives back the memory of what is cached and was not used since the last call.
  void drop_unused() noexcept { slices_.drop_unused(); }

 private:
  void note_new_table(std::uint64_t index, HostOffset host_offset);

  std::vector<std::uint64_t> l1_;
  HostOffset l1_offset_{};
  std::uint64_t l2_table_bytes_ = 0;
  MetadataCache slices_;
  std::uint64_t generation_ = 0;
  std::set<std::uint64_t> dirty_l1_parts_;   // numbers of sectors in the L1 table
  std::set<std::uint64_t> unlinked_tables_;  // host offsets
};

}  // namespace qcowkit
