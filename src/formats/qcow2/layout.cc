#include "formats/qcow2/layout.h"

#include <algorithm>

#include "base/checked.h"

namespace qcowkit::qcow2 {

namespace {

constexpr std::uint64_t kTableCluster = 1;
constexpr std::uint64_t kFirstBlockCluster = 2;
constexpr std::uint64_t kL1TableCluster = 3;
/// The reference reserves data in runs of at most 2^31-1 bytes.
constexpr std::uint64_t kRunBytesMax = (std::uint64_t{1} << 31) - 1;

std::uint64_t l1_clusters(const LayoutRequest& request) {
  const Geometry& g = request.geometry;
  return g.clusters_for(g.l1_entries_for(request.virtual_size_bytes) * 8);
}

/// The clusters of what lies between the first refcount block and everything that may be absent.
std::uint64_t head_clusters(const LayoutRequest& request) {
  return l1_clusters(request) + request.encryption_header_clusters;
}

/// Hands out clusters in ascending order. Where they outgrow the refcount blocks, the next block
/// follows the clusters just handed out.
class Appender {
 public:
  Appender(std::uint64_t next, const Geometry& g)
      : next_(next), block_bits_(g.refcount_block_bits()), blocks_{kFirstBlockCluster} {}

  std::uint64_t append(std::uint64_t count) {
    const std::uint64_t first = next_;
    next_ += count;
    const std::uint64_t last_block = (next_ - 1) >> block_bits_;
    for (std::uint64_t i = first >> block_bits_; i <= last_block; ++i) provide_block(i);
    return first;
  }
  std::uint64_t next() const noexcept { return next_; }
  const std::vector<std::uint64_t>& blocks() const noexcept { return blocks_; }

 private:
  /// A block is a cluster as well: the block that counts it may be its own, or must be provided.
  void provide_block(std::uint64_t index) {
    while (index >= blocks_.size() || blocks_[index] == 0) {
      if (index >= blocks_.size()) blocks_.resize(index + 1);
      blocks_[index] = next_++;
      index = blocks_[index] >> block_bits_;
    }
  }

  std::uint64_t next_;
  std::uint32_t block_bits_;
  std::vector<std::uint64_t> blocks_;
};

void append_run(Layout& layout, const Layout::DataRun& run) {
  if (!layout.data.empty()) {
    Layout::DataRun& last = layout.data.back();
    if (last.host_cluster + last.count == run.host_cluster) {
      last.count += run.count;
      return;
    }
  }
  layout.data.push_back(run);
}

/// One L2 table and what it describes.
void append_l2_table(Layout& layout, Appender& appender, const LayoutRequest& request,
                     std::uint64_t first_guest_cluster, std::uint64_t count) {
  layout.l2_tables.push_back(appender.append(1));
  if (!request.data) return;
  const std::uint64_t run_max = kRunBytesMax >> request.geometry.cluster_bits();
  while (count > 0) {
    const std::uint64_t run = std::min(count, run_max);
    append_run(layout, {first_guest_cluster, appender.append(run), run});
    first_guest_cluster += run;
    count -= run;
  }
}

/// Bytes of the last cluster that need not be in the file: behind the L1 table, and the subclusters
/// behind the disk's end.
std::uint64_t unused_at_end(const Layout& layout, const LayoutRequest& request) {
  const Geometry& g = request.geometry;
  if (!layout.data.empty()) {
    const Layout::DataRun& last = layout.data.back();
    if (last.host_cluster + last.count != layout.end_cluster) return 0;
    const std::uint64_t used = align_up(request.virtual_size_bytes, g.subcluster_size());
    return align_up(used, g.cluster_size()) - used;
  }
  if (layout.end_cluster != kL1TableCluster + l1_clusters(request)) return 0;  // not at the end
  return l1_clusters(request) * g.cluster_size() - layout.l1_entries * 8;
}

/// Nothing if the refcount table would need more than its one cluster.
std::optional<Layout> interleave(const LayoutRequest& request) {
  const Geometry& g = request.geometry;
  const std::uint64_t blocks_max = g.refcount_table_entries_per_cluster();
  Layout layout;
  layout.refcount_table_cluster = kTableCluster;
  layout.l1_entries = g.l1_entries_for(request.virtual_size_bytes);
  Appender appender(kL1TableCluster, g);
  if (layout.l1_entries != 0) layout.l1_table_cluster = appender.append(l1_clusters(request));
  if (request.encryption_header_clusters != 0) {
    layout.encryption_header_cluster = appender.append(request.encryption_header_clusters);
  }

  const std::uint64_t guest_clusters = g.clusters_for(request.virtual_size_bytes);
  const std::uint64_t tables = request.l2_tables ? layout.l1_entries : 0;
  for (std::uint64_t i = 0; i < tables && appender.blocks().size() <= blocks_max; ++i) {
    const std::uint64_t first = i << g.l2_bits();
    append_l2_table(layout, appender, request, first,
                    std::min(g.l2_entries(), guest_clusters - first));
  }
  if (appender.blocks().size() > blocks_max) return std::nullopt;

  layout.refcount_blocks = appender.blocks();
  layout.end_cluster = appender.next();
  layout.file_bytes = layout.end_cluster * g.cluster_size() - unused_at_end(layout, request);
  return layout;
}

Layout lay_in_one_piece(const LayoutRequest& request) {
  const Geometry& g = request.geometry;
  const std::uint64_t guest_clusters = g.clusters_for(request.virtual_size_bytes);
  Layout layout;
  layout.l1_entries = g.l1_entries_for(request.virtual_size_bytes);
  if (layout.l1_entries != 0) layout.l1_table_cluster = kL1TableCluster;
  if (request.encryption_header_clusters != 0) {
    layout.encryption_header_cluster = kL1TableCluster + l1_clusters(request);
  }
  const std::uint64_t tables = request.l2_tables ? layout.l1_entries : 0;
  const std::uint64_t data = request.data ? guest_clusters : 0;
  if (tables == 0) layout.unused_cluster = kTableCluster;

  // Blocks and table count themselves: more of them may need more of them.
  const std::uint64_t head_end = kL1TableCluster + head_clusters(request);
  std::uint64_t blocks = 1;
  while (true) {
    layout.refcount_table_clusters =
        divide_round_up(blocks, g.refcount_table_entries_per_cluster());
    layout.refcount_table_cluster = head_end + blocks - 1;
    layout.end_cluster = layout.refcount_table_cluster + layout.refcount_table_clusters + data +
                         (tables > 0 ? tables - 1 : 0);
    const std::uint64_t needed = divide_round_up(layout.end_cluster, g.refcount_block_entries());
    if (needed <= blocks) break;
    blocks = needed;
  }

  layout.refcount_blocks.push_back(kFirstBlockCluster);
  for (std::uint64_t i = 1; i < blocks; ++i) layout.refcount_blocks.push_back(head_end + i - 1);
  const std::uint64_t data_cluster = layout.refcount_table_cluster + layout.refcount_table_clusters;
  if (data != 0) layout.data.push_back({0, data_cluster, data});
  if (tables != 0) layout.l2_tables.push_back(kTableCluster);
  for (std::uint64_t i = 1; i < tables; ++i) {
    layout.l2_tables.push_back(data_cluster + data + i - 1);
  }
  layout.file_bytes = layout.end_cluster * g.cluster_size();
  return layout;
}

}  // namespace

Layout plan_layout(const LayoutRequest& request) {
  if (request.order == LayoutOrder::interleaved || request.virtual_size_bytes == 0) {
    if (std::optional<Layout> layout = interleave(request)) return *std::move(layout);
  }
  return lay_in_one_piece(request);
}

}  // namespace qcowkit::qcow2
