// The metadata of one open image as a whole, and the order in which it reaches the disk.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "base/offsets.h"
#include "formats/first_failure.h"
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
  DiscardPassThrough discard_pass_through = {};
  std::uint32_t overlap_checks = overlap::kCached;
  /// Without a value, as the header says; version 3.
  std::optional<bool> lazy_refcounts = {};
  std::uint32_t cache_clean_interval_seconds = 0;  ///< 0: never
  std::uint64_t l2_cache_entry_bytes = 0;          ///< 512 to a cluster, a power of two; 0: 4096
  bool read_only = false;  ///< nothing will be counted: the refcount table is not even read
};

/// Cluster map, refcounts and header, and the write-back that orders them (README.md, rules 1 to
/// 7).
///
/// Thread-safe. Changes happen in memory; `write_back` and `flush` bring them to the disk. Those
/// are in metadata_write_back.cc, what concerns the header in metadata_header.cc.
class Metadata {
 public:
  /// `data_file` is the external data file's storage, null if there is none.
  Metadata(Storage& storage, Storage* data_file, const Header& header,
           const MetadataOptions& options);

  ClusterMap& map() noexcept { return map_; }
  Refcounts& refcounts() noexcept { return refcounts_; }
  Storage& storage() noexcept { return storage_; }
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
  /// Reserves exactly so many contiguous host clusters.
  HostRun allocate_contiguous(std::uint64_t clusters);
  /// Gives back what was reserved and never linked.
  void release(HostOffset host_offset, std::uint64_t bytes) noexcept;
  /// Frees what has just been unlinked, once that is safe.
  void defer_free(HostOffset host_offset, std::uint64_t bytes, FreedBy by = FreedBy::other);
  /// True if a flush would free clusters.
  bool can_reclaim() const;
  /// Whether the storage is to hear of what is freed so.
  bool passes_discards(FreedBy by) const noexcept;
  /// Gives back the memory of cached tables that nobody has used for a while. Costs one comparison
  /// unless asked for. Nothing runs by itself: somebody has to use the image.
  void clean_caches() {
    if (cache_clean_interval_.count() != 0) clean_caches_if_due();
  }

  /// Makes sure that the L2 table for `guest_offset` exists and is not shared.
  void own_table(GuestOffset guest_offset);

  /// Returns when everything that was changed before is durable. A failure is remembered: later
  /// calls fail, too.
  void flush();
  /// Flushes, brings all refcounts to the disk and takes back what `before_change` said. Changes
  /// may follow.
  void close();
  // Changes of the image as a whole. Nobody else changes it meanwhile, and `flush` has been called
  // before.

  /// Changes the header, durably. Where refcounts and flags must be right before, they are: all
  /// that was changed is written first.
  void change_header(const std::function<void(Header&)>& change);
  /// Throws `Error` (corrupt) if L1 entries name L2 tables where other metadata lies, as far as the
  /// overlap checks know it: those are not to be written to.
  void require_tables_apart(std::span<const std::uint64_t> l1_entries) const;
  /// Writes a table into new clusters, and returns where. Durable with the next `change_header`.
  /// `before_write` is raised before the table is written.
  HostOffset write_table(std::span<const std::byte> table, std::optional<Event> before_write = {});
  /// Changes flags in the active L1 table where it lies, and forgets all cached L2 slices.
  void rewrite_l1_table(std::vector<std::uint64_t> l1_table);
  /// Makes `l1_table` the active one, in new clusters, together with what `change` makes of the
  /// header. The old table's clusters are freed, unless `keep_old`.
  enum class L1Change { other, grow, shrink };  ///< which events are raised
  void replace_l1_table(std::vector<std::uint64_t> l1_table, bool keep_old,
                        const std::function<void(Header&)>& change,
                        L1Change kind = L1Change::other);
  /// Writes all refcounts anew with another width. See `Refcounts::change_width`.
  void change_refcount_width(std::uint32_t refcount_order);
  /// Says, durably, that refcounts and COPIED flags may disagree from now on; an image that is left
  /// like this is repaired when it is next opened for writing. Version 2 cannot say so.
  void set_unclean();
  /// For `change_header`: the same, together with another change.
  void set_unclean(Header& header);
  /// For `change_header`: they agree again. After a change that failed between the two, the image
  /// stays marked until it is repaired.
  void set_clean(Header& header);

  /// Cuts off what lies behind the last host cluster in use.
  void trim_storage();
  /// The image is damaged: says so in its header (version 3) and refuses all further changes.
  void mark_corrupt() noexcept;
  bool is_corrupt() const noexcept { return is_corrupt_.load(std::memory_order_relaxed); }

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
  void write_in_order(ClusterMap::Dirty& map, Refcounts::Dirty* refcounts, Durability durability);
  void barrier();
  void reclaim(std::vector<Refcounts::DeferredFree> frees) REQUIRES(write_back_mutex_);
  void grow_refcount_table(std::uint64_t contiguous_clusters);
  void prepare_header();
  enum class Tables { stay, move };  // those that the overlap guard knows from the header
  void update_header(const std::function<void(Header&)>& change, Tables tables = Tables::stay)
      REQUIRES(header_mutex_);
  std::optional<Error> failure() const { return failure_.get(); }
  void lose_header(const Error& error);
  void note_laziness(const Header& header);
  void clean_caches_if_due();
  bool is_lazy() const noexcept { return lazy_refcounts_.load(std::memory_order_relaxed); }

  // Constant after construction.
  Storage& storage_;
  Storage* const data_file_;
  const DiscardPassThrough discard_pass_through_;
  const std::optional<bool> lazy_option_;
  const bool read_only_;
  const std::chrono::seconds cache_clean_interval_;
  std::function<void(HostOffset, std::uint64_t)> on_free_;

  Epochs epochs_;
  OverlapGuard guard_;
  ClusterMap map_;
  Refcounts refcounts_;

  std::atomic<bool> lazy_refcounts_{false};  // as the header says, or the option
  std::atomic<std::chrono::steady_clock::rep> next_clean_{0};
  std::atomic<bool> header_prepared_{false};
  std::atomic<bool> is_corrupt_{false};
  std::atomic<bool> is_header_lost_{false};
  std::atomic<int> unclean_{0};  // changes after which `set_clean` has not been called

  /// One table is installed at a time.
  Mutex table_mutex_;

  /// One write-back at a time, and no growing of the refcount table during it.
  Mutex write_back_mutex_;

  mutable Mutex header_mutex_;
  Header header_ GUARDED_BY(header_mutex_);

  FirstFailure failure_;  // of a barrier, or to write the header
};

}  // namespace qcowkit::qcow2
