// Every shift and mask that follows from the cluster size and the widths of entries.
#pragma once

#include <cstdint>

#include "base/checked.h"
#include "base/offsets.h"

namespace qcowkit::qcow2 {

/// The shape of an image. A value; all functions are constant-time.
///
/// Without extended L2 entries a cluster counts as one subcluster, so that the code above needs
/// one way only.
class Geometry {
 public:
  constexpr Geometry(std::uint32_t cluster_bits, std::uint32_t refcount_order, bool extended_l2)
      : cluster_bits_(cluster_bits), refcount_order_(refcount_order), extended_l2_(extended_l2) {}

  constexpr std::uint32_t cluster_bits() const noexcept { return cluster_bits_; }
  constexpr std::uint64_t cluster_size() const noexcept {
    return std::uint64_t{1} << cluster_bits_;
  }
  constexpr bool extended_l2() const noexcept { return extended_l2_; }

  // Subclusters (qcow2 spec, Extended L2 Entries).
  constexpr std::uint32_t subclusters() const noexcept { return extended_l2_ ? 32 : 1; }
  constexpr std::uint32_t subcluster_bits() const noexcept {
    return cluster_bits_ - (extended_l2_ ? 5 : 0);
  }
  constexpr std::uint64_t subcluster_size() const noexcept {
    return std::uint64_t{1} << subcluster_bits();
  }
  /// A bit for each subcluster of a cluster.
  constexpr std::uint32_t all_subclusters() const noexcept {
    return extended_l2_ ? 0xffffffffu : 1u;
  }

  // L2 tables (qcow2 spec, Cluster mapping).
  constexpr std::uint32_t l2_entry_bits() const noexcept { return extended_l2_ ? 4 : 3; }
  constexpr std::uint64_t l2_entry_bytes() const noexcept {
    return std::uint64_t{1} << l2_entry_bits();
  }
  /// log2 of the entries in an L2 table.
  constexpr std::uint32_t l2_bits() const noexcept { return cluster_bits_ - l2_entry_bits(); }
  constexpr std::uint64_t l2_entries() const noexcept { return std::uint64_t{1} << l2_bits(); }
  /// Guest bytes that one L1 entry covers.
  constexpr std::uint64_t l1_entry_covers() const noexcept {
    return std::uint64_t{1} << (l2_bits() + cluster_bits_);
  }
  constexpr std::uint64_t l1_index(GuestOffset o) const noexcept {
    return o.value >> (l2_bits() + cluster_bits_);
  }
  constexpr std::uint64_t l2_index(GuestOffset o) const noexcept {
    return (o.value >> cluster_bits_) & (l2_entries() - 1);
  }
  /// Entries that an L1 table needs for a disk of this size.
  constexpr std::uint64_t l1_entries_for(std::uint64_t virtual_size_bytes) const noexcept {
    return divide_round_up(virtual_size_bytes, l1_entry_covers());
  }

  constexpr std::uint64_t in_cluster(std::uint64_t offset) const noexcept {
    return offset & (cluster_size() - 1);
  }
  constexpr std::uint64_t cluster_start(std::uint64_t offset) const noexcept {
    return offset & ~(cluster_size() - 1);
  }
  constexpr std::uint64_t clusters_for(std::uint64_t bytes) const noexcept {
    return divide_round_up(bytes, cluster_size());
  }

  // Refcounts (qcow2 spec, Host cluster management).
  constexpr std::uint32_t refcount_order() const noexcept { return refcount_order_; }
  constexpr std::uint32_t refcount_bits() const noexcept { return 1u << refcount_order_; }
  constexpr std::uint64_t refcount_max() const noexcept {
    return refcount_order_ == 6 ? ~std::uint64_t{0} : (std::uint64_t{1} << refcount_bits()) - 1;
  }
  /// log2 of the entries in a refcount block.
  constexpr std::uint32_t refcount_block_bits() const noexcept {
    return cluster_bits_ + 3 - refcount_order_;
  }
  constexpr std::uint64_t refcount_block_entries() const noexcept {
    return std::uint64_t{1} << refcount_block_bits();
  }
  constexpr std::uint64_t refcount_table_entries_per_cluster() const noexcept {
    return cluster_size() / 8;
  }

 private:
  std::uint32_t cluster_bits_;
  std::uint32_t refcount_order_;
  bool extended_l2_;
};

}  // namespace qcowkit::qcow2
