// The COPIED flags in a check: do they say what the refcounts say? And other mending of L2 entries.
#pragma once

#include <cstdint>

#include "formats/qcow2/check_refcounts.h"
#include "formats/qcow2/check_references.h"
#include "formats/qcow2/l2_entry.h"

namespace qcowkit::qcow2 {

/// Compares the COPIED flags of the active L1 table and its L2 tables with the refcounts.
///
/// This is the slow way: each table is read again. It is gone only where the walk and the
/// comparison of refcounts have seen that a flag is wrong (`References::claims_wrong`). The claims
/// in `references` are used up: afterwards they tell about refcounts.
class CopiedFlags {
 public:
  CopiedFlags(References& references, RefcountStructure& refcounts);

  /// Reports each wrong flag.
  void report();
  /// Sets right each wrong flag in tables that are nothing but tables, flushes, and returns how
  /// many there were.
  std::uint64_t repair();

 private:
  void note_refcounts();
  bool is_wrong(std::uint64_t host_offset, bool copied);
  void l1_entries(bool repairs);
  void l2_table(const L2TableRef& table, std::span<std::byte> bytes, bool repairs);
  bool l2_entry(RawL2Entry& raw, bool repairs);

  References& references_;
  RefcountStructure& refcounts_;
  CheckContext& context_;
  const L2Rules rules_;
  std::uint64_t repaired_ = 0;
};

/// Takes unaligned host clusters, from which nothing is read, out of L2 entries, flushes, and
/// returns how many there were.
std::uint64_t drop_unaligned_preallocations(References& references);

}  // namespace qcowkit::qcow2
