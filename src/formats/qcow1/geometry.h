// Every shift and mask that follows from the cluster size and the size of L2 tables.
#pragma once

#include <cstdint>

#include "base/checked.h"
#include "base/offsets.h"

namespace qcowkit::qcow1 {

/// The shape of an image. A value; all functions are constant-time.
class Geometry {
 public:
  constexpr Geometry(std::uint32_t cluster_bits, std::uint32_t l2_bits)
      : cluster_bits_(cluster_bits), l2_bits_(l2_bits) {}

  constexpr std::uint32_t cluster_bits() const noexcept { return cluster_bits_; }
  constexpr std::uint64_t cluster_size() const noexcept {
    return std::uint64_t{1} << cluster_bits_;
  }
  constexpr std::uint64_t in_cluster(std::uint64_t offset) const noexcept {
    return offset & (cluster_size() - 1);
  }

  /// log2 of the entries in an L2 table.
  constexpr std::uint32_t l2_bits() const noexcept { return l2_bits_; }
  constexpr std::uint64_t l2_entries() const noexcept { return std::uint64_t{1} << l2_bits_; }
  constexpr std::uint64_t l2_table_bytes() const noexcept { return l2_entries() * 8; }
  constexpr std::uint64_t l2_index(GuestOffset o) const noexcept {
    return (o.value >> cluster_bits_) & (l2_entries() - 1);
  }

  /// Guest bytes that one L1 entry covers.
  constexpr std::uint64_t l1_entry_covers() const noexcept {
    return std::uint64_t{1} << (l2_bits_ + cluster_bits_);
  }
  constexpr std::uint64_t l1_index(GuestOffset o) const noexcept {
    return o.value >> (l2_bits_ + cluster_bits_);
  }
  /// Entries that the L1 table of a disk of this size has.
  constexpr std::uint64_t l1_entries_for(std::uint64_t virtual_size_bytes) const noexcept {
    return divide_round_up(virtual_size_bytes, l1_entry_covers());
  }

 private:
  std::uint32_t cluster_bits_;
  std::uint32_t l2_bits_;
};

}  // namespace qcowkit::qcow1
