// Collecting all references to host clusters but those of the refcount structures.
#pragma once

#include <cstdint>
#include <vector>

#include "formats/qcow2/check_references.h"

namespace qcowkit::qcow2 {

inline constexpr CheckStage kWalkStage{0.0, 0.7};

/// The L2 tables that snapshots refer to, each with the number of its references. Memory is
/// bounded by the number of different tables, not by that of the snapshots.
class InactiveTables {
 public:
  void add(std::uint64_t host_offset, std::uint32_t weight);
  /// Sorted by host offset, each table once.
  std::vector<L2TableRef> take();

 private:
  void merge();

  std::vector<L2TableRef> tables_;
  std::size_t merged_ = 0;
};

/// Counts the header, the L1 tables and what they lead to, the snapshot table, the encryption
/// header, and the bitmaps, in `references`. Every L2 table is read once, however many L1 entries
/// lead to it.
void collect_references(References& references);

/// Reads the entries of an L1 table, raw, and reports those that are wrong, in as many places as
/// `weight` says. Empty where it cannot be read.
std::vector<std::uint64_t> read_l1_table(References& references, HostOffset host_offset,
                                         std::uint64_t entries, std::uint64_t weight);

/// The parts of `collect_references` that are about snapshots and bitmaps.
void collect_snapshots(References& references, InactiveTables& tables);
void collect_bitmaps(References& references);

}  // namespace qcowkit::qcow2
