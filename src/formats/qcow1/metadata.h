// The metadata of one open image as a whole, and the order in which it reaches the disk.
#pragma once

#include <cstdint>

#include "base/mutex.h"
#include "base/offsets.h"
#include "formats/first_failure.h"
#include "formats/qcow1/cluster_map.h"
#include "formats/qcow1/header.h"
#include "formats/qcow1/host_space.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow1 {

/// Cluster map and host space, and the write-back that orders them (README.md, rules 1 to 3).
///
/// Thread-safe. Changes happen in memory; `write_back` and `flush` bring them to the disk.
class Metadata {
 public:
  /// `l2_cache_bytes` 0: the default.
  Metadata(Storage& storage, const Header& header, std::uint64_t l2_cache_bytes);

  ClusterMap& map() noexcept { return map_; }
  const Header& header() const noexcept { return header_; }
  const Geometry& geometry() const noexcept { return map_.geometry(); }

  /// Before each change: writes back when much is dirty.
  void before_change();

  /// Reserves contiguous host clusters.
  HostSpace::Range allocate(std::uint64_t clusters);
  /// Reserves room for a compressed stream.
  HostOffset allocate_bytes(std::uint64_t bytes);
  /// Gives back what was reserved and never linked.
  void release(HostOffset host_offset, std::uint64_t bytes) noexcept;

  /// Makes sure that the L2 table for `guest_offset` exists.
  void make_table(GuestOffset guest_offset);

  /// Returns when everything that was changed before is durable. A failure is remembered: later
  /// calls fail, too.
  void flush();

  /// Unlinks all tables, durably; host clusters stay what they are. All must have been flushed, and
  /// no change may be under way. If it fails, some of them may be unlinked.
  void unlink_all();
  /// Cuts the file off behind the L1 table, durably. Nothing may be linked or in use.
  void cut_off();

  /// Reads all metadata again. All must have been flushed, and no change may be under way.
  void reload();

 private:
  enum class Durability { ordered, durable };
  void write_back(Durability durability);
  void write_in_order(ClusterMap::Dirty& dirty, Durability durability);
  void barrier();

  // Constant after construction.
  Storage& storage_;
  const Header header_;

  ClusterMap map_;
  HostSpace space_;

  /// One table is installed at a time.
  Mutex table_mutex_;

  /// One write-back at a time.
  Mutex write_back_mutex_;

  FirstFailure failure_;  // of a barrier
};

}  // namespace qcowkit::qcow1
