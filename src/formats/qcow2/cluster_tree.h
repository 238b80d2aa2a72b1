// All host clusters that an L1 table leads to, as a whole.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "formats/qcow2/l2_entry.h"
#include "formats/qcow2/refcounts.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

/// One L2 table in a pass over many.
struct L2TableView {
  HostOffset host_offset{};
  std::uint64_t references = 0;  ///< how many of the L1 entries name it
  std::span<std::byte> entries;  ///< the table's bytes; changes are written back
};

/// Reads each L2 table that `l1_entries` name once, in ascending order and large requests, from the
/// disk. `visit` returns whether it has changed the table. Throws `Error`: corrupt (a table that is
/// not aligned), I/O errors.
void for_each_l2_table(Storage& storage, const Geometry& geometry,
                       std::span<const std::uint64_t> l1_entries,
                       const std::function<bool(const L2TableView& table)>& visit);

/// Raises, lowers and compares the refcounts of all that L1 entries lead to: the L2 tables, and the
/// clusters and compressed streams that those name. Works on the disk's tables: nothing in the
/// cluster map is dirty, and no changing request is under way.
class ClusterTree {
 public:
  /// `by`: what clusters that lose their last reference are freed by.
  ClusterTree(Storage& storage, Refcounts& refcounts, const L2Rules& rules,
              FreedBy by = FreedBy::other)
      : storage_(storage), refcounts_(refcounts), rules_(rules), by_(by) {}

  /// Counts one more reference for each L1 entry, and takes the COPIED flags, which are wrong then,
  /// out of the entries and the tables. On an error all is as it was, but for flags that
  /// may be missing.
  void share(std::span<std::uint64_t> l1_entries);
  /// Counts one reference less for each L1 entry; nothing on the disk refers to the tree by these
  /// entries any more.
  void release(std::span<const std::uint64_t> l1_entries);
  /// Sets each COPIED flag to what the refcount says.
  void set_copied_flags(std::span<std::uint64_t> l1_entries);

 private:
  void collect_ranges(const L2TableView& table);
  bool clear_copied(std::span<std::byte> table) const;
  bool set_copied(std::span<std::byte> table);
  bool set_copied_run(std::span<std::byte> table, std::uint64_t first, HostOffset host_offset,
                      std::uint64_t count);
  std::uint64_t plain_run(std::span<const std::byte> table, std::uint64_t first) const;

  Storage& storage_;
  Refcounts& refcounts_;
  const L2Rules rules_;
  const FreedBy by_;
  std::vector<HostRange> ranges_;  // of the table at hand
  std::vector<std::uint64_t> run_refcounts_;
};

}  // namespace qcowkit::qcow2
