// The metadata of one open image as a whole, and the order in which it reaches the disk.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>

#include "base/mutex.h"
#include "base/offsets.h"
#include "formats/qcow2/cluster_map.h"
#include "formats/qcow2/epochs.h"
#include "formats/qcow2/header.h"
#include "formats/qcow2/refcounts.h"
#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

struct MetadataOptions {
  std::uint64_t l2_cache_bytes = 0;        ///< 0: the default
  std::uint64_t refcount_cache_bytes = 0;  ///< 0: the default
  bool discard_pass_through = true;
};

/// Cluster map, refcounts and header, and the write-back that orders them (README.md, rules 1 to
/// 7).
///
/// Thread-safe. Changes happen in memory; `write_back` and `flush` bring them to the disk.
class Metadata {
 public:
  /// `data_file` is the external data file's storage, null if there is none.
  Metadata(Storage& storage, Storage* data_file, const Header& header,
           const MetadataOptions& options);

  ClusterMap& map() noexcept { return map_; }
  Epochs& epochs() noexcept { return epochs_; }
  const Geometry& geometry() const noexcept { return map_.rules().geometry; }
  Header header() const;

  /// Before each change: makes the header say what has to be said while the image is being changed,
  /// and writes back when much is dirty.
  void before_change();

  /// Reserves 1 to `clusters_max` contiguous host clusters.
  HostRun allocate(std::uint64_t clusters_max);
  /// Reserves room for a compressed stream.
  HostOffset allocate_bytes(std::uint64_t bytes);
  /// Gives back what was reserved and never linked.
  void release(HostOffset host_offset, std::uint64_t bytes) noexcept;
  /// Frees what has just been unlinked, once that is safe.
  void defer_free(HostOffset host_offset, std::uint64_t bytes);
  /// True if a flush would free clusters.
  bool can_reclaim() const;

  /// Makes sure that the L2 table for `guest_offset` exists and is not shared.
  void own_table(GuestOffset guest_offset);

  /// Returns when everything that was changed before is durable. A failure is remembered: later
  /// calls fail, too.
  void flush();
  /// Flushes, brings all refcounts to the disk and takes back what `before_change` said. Changes
  /// may follow.
  void close();
  /// Called with each host range that has become free.
  void on_free(std::function<void(HostOffset, std::uint64_t bytes)> hook) {
    on_free_ = std::move(hook);
  }

  /// Rereads everything (after a repair). Nothing may be in use.
  void reload(const Header& header);

 private:
  enum class Durability { ordered, durable };
  void write_back(Durability durability);
  void write_back_locked(Durability durability) REQUIRES(write_back_mutex_);
  void write_in_order(ClusterMap::Dirty& map, Refcounts::Dirty* refcounts, Durability durability,
                      bool& tables_durable);
  void barrier();
  void reclaim(std::vector<Refcounts::DeferredFree> frees) REQUIRES(write_back_mutex_);
  void grow_refcount_table();
  void prepare_header();
  void update_header(const std::function<void(Header&)>& change) REQUIRES(header_mutex_);
  bool is_lazy() const noexcept { return lazy_refcounts_; }

  // Constant after construction.
  Storage& storage_;
  Storage* const data_file_;
  const bool lazy_refcounts_;
  const bool discard_pass_through_;
  std::function<void(HostOffset, std::uint64_t)> on_free_;

  Epochs epochs_;
  ClusterMap map_;
  Refcounts refcounts_;

  std::atomic<bool> header_prepared_{false};

  /// One table is installed at a time.
  Mutex table_mutex_;

  /// One write-back at a time, and no growing of the refcount table during it.
  Mutex write_back_mutex_;

  mutable Mutex header_mutex_;
  Header header_ GUARDED_BY(header_mutex_);

  /// What the first failed barrier said.
  mutable Mutex failure_mutex_;
  std::optional<Error> failure_ GUARDED_BY(failure_mutex_);
};

}  // namespace qcowkit::qcow2
