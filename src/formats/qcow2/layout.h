// Where every cluster of a new image goes. No I/O, no locks.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "formats/qcow2/geometry.h"

namespace qcowkit::qcow2 {

/// The order in which a new image's structures lie, as the reference lays them (all start with
/// header, refcount table, refcount block 0, L1 table, encryption header):
///   interleaved   each L2 table, then the clusters it describes; a refcount block wherever the
///                 clusters so far outgrow the blocks so far
///   in_one_piece  all refcount blocks, the refcount table, all data, all L2 tables. The table's
///                 first place, cluster 1, is used for the first L2 table.
enum class LayoutOrder { interleaved, in_one_piece };

struct LayoutRequest {
  Geometry geometry;
  std::uint64_t virtual_size_bytes;
  bool l2_tables;                            ///< allocate L2 tables for the whole disk
  bool data;                                 ///< and host clusters for all of its data
  std::uint64_t encryption_header_clusters;  ///< 0: none
  LayoutOrder order;
};

/// Places are host clusters, counted from the file's start.
struct Layout {
  /// `count` guest clusters from `guest_cluster` on lie at `host_cluster` and behind.
  struct DataRun {
    std::uint64_t guest_cluster;
    std::uint64_t host_cluster;
    std::uint64_t count;
  };

  std::uint64_t refcount_table_cluster = 0;
  std::uint64_t refcount_table_clusters = 1;
  std::vector<std::uint64_t> refcount_blocks;  ///< each block's cluster
  std::uint64_t l1_entries = 0;
  std::uint64_t l1_table_cluster = 0;  ///< 0 if there are no entries
  std::uint64_t encryption_header_cluster = 0;
  std::vector<std::uint64_t> l2_tables;  ///< the cluster of each L1 entry's table; or empty
  std::vector<DataRun> data;             ///< in ascending order
  std::optional<std::uint64_t> unused_cluster;
  std::uint64_t end_cluster = 0;  ///< all clusters before it are used, but `unused_cluster`
  std::uint64_t file_bytes = 0;   ///< the last cluster need not be there whole
};

/// An empty disk has nothing to lay in one piece. Interleaved images whose refcounts need a table
/// of more than one cluster are laid out in one piece instead: they have so many tables that they
/// are better written, and later read, together.
Layout plan_layout(const LayoutRequest& request);

}  // namespace qcowkit::qcow2
