// Looks for holes below an image's data.
#include <algorithm>

#include "base/checked.h"
#include "qcowkit/jobs.h"

namespace qcowkit {

namespace {

/// How far ahead a file is asked: extents are often small, and the answer holds for many.
constexpr std::uint64_t kLookAheadBytes = std::uint64_t{1} << 30;

/// How many clusters of the layer's file are in use, as far as its map tells; `file_clusters` where
/// that is too little to go by.
std::uint64_t clusters_in_use(Image& layer, std::uint64_t file_clusters) {
  const std::uint64_t cluster_bytes = layer.cluster_size();
  const ImageInfo info = layer.info();
  if (!info.qcow2) return file_clusters;
  const std::uint64_t entry_bytes = info.qcow2->extended_l2 ? 16 : 8;
  const std::uint64_t table_covers = cluster_bytes / entry_bytes * cluster_bytes;
  const std::uint64_t size = layer.virtual_size();

  std::uint64_t data_clusters = 0;
  std::uint64_t data_end = 0;  // guest offsets up to which clusters and tables are counted
  std::uint64_t tables = 0;
  std::uint64_t tables_end = 0;
  const auto count = [](std::uint64_t begin, std::uint64_t end, std::uint64_t unit_bytes,
                        std::uint64_t& counted_to) {
    const std::uint64_t first = std::max(counted_to, align_down(begin, unit_bytes));
    counted_to = std::max(counted_to, align_up(end, unit_bytes));
    return counted_to > first ? (counted_to - first) / unit_bytes : 0;
  };
  for (std::uint64_t at = 0; at < size;) {
    const Extent extent = layer.map_layer(at, size - at);
    const std::uint64_t end = at + extent.length_bytes;
    if (extent.kind == ExtentKind::compressed) return file_clusters;
    if (extent.kind != ExtentKind::unallocated) tables += count(at, end, table_covers, tables_end);
    if (extent.host_offset) data_clusters += count(at, end, cluster_bytes, data_end);
    at = end;
  }
  const std::uint64_t l1_bytes = divide_round_up(size, table_covers) * sizeof(std::uint64_t);
  const std::uint64_t refcount_blocks =
      divide_round_up(file_clusters, cluster_bytes * 8 / info.qcow2->refcount_bits);
  const std::uint64_t refcount_table_bytes = refcount_blocks * sizeof(std::uint64_t);
  return 1 + divide_round_up(l1_bytes, cluster_bytes) +
         divide_round_up(refcount_table_bytes, cluster_bytes) + refcount_blocks + tables +
         data_clusters;
}

/// By more than one cluster and a tenth.
bool occupies_less_than_it_uses(Image& layer) {
  const std::uint64_t cluster_bytes = layer.cluster_size();
  if (cluster_bytes == 0) return false;  // The format itself tells of holes.
  const std::uint64_t occupied = layer.storage().allocated_bytes() / cluster_bytes;
  const auto is_clearly_more = [&](std::uint64_t clusters) {
    return clusters >= occupied + std::max<std::uint64_t>(2, clusters / 10);
  };
  const std::uint64_t file_clusters = divide_round_up(layer.storage().size(), cluster_bytes);
  return is_clearly_more(file_clusters) && is_clearly_more(clusters_in_use(layer, file_clusters));
}

}  // namespace

struct HoleFinder::Layer {
  Image* image;
  std::optional<bool> has_holes;
  // What the file said last: its bytes [begin, end) are all data or all a hole.
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  bool is_hole = false;
};

HoleFinder::HoleFinder(Image& image) { layers_.push_back({&image, {}}); }
HoleFinder::~HoleFinder() = default;
HoleFinder::HoleFinder(HoleFinder&& other) noexcept = default;
HoleFinder& HoleFinder::operator=(HoleFinder&& other) noexcept = default;

HoleFinder::Layer& HoleFinder::layer_at(std::uint32_t depth) {
  while (layers_.size() <= depth) layers_.push_back({layers_.back().image->backing(), {}});
  return layers_[depth];
}

bool HoleFinder::cut(Extent& extent) {
  if (extent.kind != ExtentKind::data || !extent.host_offset || extent.storage == nullptr) {
    return false;
  }
  Layer& layer = layer_at(extent.depth);
  if (extent.storage != &layer.image->storage()) return false;
  if (!layer.has_holes) layer.has_holes = occupies_less_than_it_uses(*layer.image);
  if (!*layer.has_holes) return false;
  const std::uint64_t host_offset = *extent.host_offset;
  if (host_offset < layer.begin || host_offset >= layer.end) {
    const StorageExtent found = extent.storage->extent_at(host_offset, kLookAheadBytes);
    layer.begin = host_offset;
    layer.end = host_offset + found.length_bytes;
    layer.is_hole = found.is_hole;
  }
  extent.length_bytes = std::min(extent.length_bytes, layer.end - host_offset);
  return layer.is_hole;
}

}  // namespace qcowkit
