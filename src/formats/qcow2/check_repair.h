// Mending refcounts: in place, or by new refcount structures.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "formats/qcow2/check_refcounts.h"
#include "formats/qcow2/check_references.h"

namespace qcowkit::qcow2 {

/// What `mend_refcounts` did.
struct RefcountChanges {
  std::uint64_t raised = 0;
  std::uint64_t lowered = 0;
  /// Clusters that nothing refers to any more: first and number. Not necessarily all of them.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> freed;
};

/// Which refcounts `mend_refcounts` may change.
struct RefcountMending {
  bool raises = false;  ///< those lower than the number of references
  bool lowers = false;  ///< those higher
};

/// Sets refcounts right in their blocks and flushes. Every entry goes straight to its final value,
/// and no reference is changed meanwhile, so a crash leaves each as it was or right.
RefcountChanges mend_refcounts(References& references, RefcountStructure& refcounts,
                               const RefcountMending& mending);

/// How `rebuild_refcounts` ended.
struct RebuildOutcome {
  bool done = false;
  /// If not 0: it would have worked had the file had this many clusters, for what dangling
  /// references point at must not be given to anything else.
  std::uint64_t file_clusters_wanted = 0;
};

/// Writes a new refcount table and new blocks, which say what `references` counts, to free
/// clusters, flushes, switches the header over in one write, and flushes. The old ones are free
/// then. Where that cannot be done, a message says why. `references` must not be incomplete. Unless
/// it is done both arguments are as before; else `refcounts` is stale.
RebuildOutcome rebuild_refcounts(References& references, RefcountStructure& refcounts);

/// Writes a snapshot table whose entries have all the fields that their version wants, in the order
/// in which a crash loses nothing. False, with a message that says why, where there is no room. The
/// refcounts are sound. Not part of the counts in `references` afterwards.
bool complete_snapshot_table(References& references, RefcountStructure& refcounts);

/// Changes the first sector of the file, where all fields of the header are that a repair changes,
/// in one write, and flushes.
void write_refcount_table_fields(CheckContext& context, HostOffset host_offset,
                                 std::uint32_t clusters);
void write_snapshots_offset(CheckContext& context, HostOffset host_offset);
void write_incompatible_features(CheckContext& context, std::uint64_t features);

}  // namespace qcowkit::qcow2
