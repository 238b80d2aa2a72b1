// Everything that refers to host clusters, as a check collects it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "formats/qcow2/check_context.h"
#include "formats/qcow2/check_counts.h"

namespace qcowkit::qcow2 {

/// An L2 table and how many L1 entries lead to it.
struct L2TableRef {
  HostOffset host_offset;
  std::uint32_t active = 0;    ///< entries of the active L1 table
  std::uint32_t inactive = 0;  ///< entries of snapshots' L1 tables
};

/// Clusters behind the file's end that something refers to. Nothing new may be put there.
class DanglingClusters {
 public:
  void add(std::uint64_t first, std::uint64_t n);
  /// The first cluster from `from` on where `n` clusters in a row are free of them; `kNowhere` if
  /// there are too many to tell.
  std::uint64_t gap(std::uint64_t from, std::uint64_t n);
  static constexpr std::uint64_t kNowhere = ~std::uint64_t{0};

 private:
  static constexpr std::size_t kRangesMax = 65536;
  void merge();

  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges_;  // first, behind the last
  bool too_many_ = false;
};

/// What one look at the image found.
struct Findings {
  std::uint64_t corruptions = 0;
  std::uint64_t refcount_corruptions = 0;  ///< those of them that new refcounts would mend
  std::uint64_t leaks = 0;
  std::uint64_t check_errors = 0;
  std::uint64_t refcount_check_errors = 0;  ///< those of them that new refcounts would mend
  std::uint64_t allocated_clusters = 0;
  std::uint64_t compressed_clusters = 0;
  std::uint64_t fragmented_clusters = 0;
  std::uint64_t highest_cluster = 0;  ///< the last one in use
};

/// The references of an image.
class References {
 public:
  explicit References(CheckContext& context);

  /// Counts `weight` references to each cluster that the host range touches. A range that ends a
  /// cluster or more behind the file's end is not counted but a corruption (of weight `weight`);
  /// false then.
  bool add_region(std::uint64_t host_offset, std::uint64_t bytes, std::uint64_t weight,
                  std::uint8_t claims);

  /// A finding that makes the image corrupt, in as many places as `weight` says.
  template <typename... Args>
  void corruption(std::uint64_t weight, fmt::format_string<Args...> format, Args&&... args) {
    findings.corruptions += weight;
    context.note(format, std::forward<Args>(args)...);
  }

  /// A structure that refers to clusters could not be read, or not be made sense of: what seems to
  /// be free may be in use.
  void unreadable(const Error& error);

  /// True if nothing but its L1 entries refers to the table: it may be written to.
  bool is_only_a_table(const L2TableRef& table) const noexcept;

  CheckContext& context;
  ReferenceCounts counts;
  Findings findings;
  DanglingClusters dangling;

  std::vector<std::uint64_t> l1;   ///< the active L1 table's entries, raw
  std::vector<L2TableRef> tables;  ///< each once: the active ones in L1 order, then the others
  std::size_t active_tables = 0;   ///< how many of `tables` are active
  bool incomplete = false;         ///< see `unreadable`
  bool claims_wrong = false;       ///< a COPIED flag is wrong, or has to be looked at by itself
  std::uint64_t unaligned_preallocations = 0;
  std::uint64_t incomplete_snapshots = 0;  ///< entries of the snapshot table that lack fields
};

}  // namespace qcowkit::qcow2
