// Walks an image from extent to extent, as jobs want to see it.
#include "jobs/extent_walk.h"

#include <algorithm>

#include "base/checked.h"

namespace qcowkit {

namespace {
/// How far ahead a storage is asked: extents are often small, and the answer holds for many.
constexpr std::uint64_t kStorageLookAheadBytes = std::uint64_t{1} << 30;

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

StoredRun ExtentWalk::at(std::uint64_t guest_offset) {
  if (guest_offset < guest_offset_ || guest_offset - guest_offset_ >= run_.length_bytes) {
    map(guest_offset);
  }
  StoredRun rest = run_;
  const std::uint64_t skipped = guest_offset - guest_offset_;
  rest.length_bytes -= skipped;
  if (rest.has_host_offset) rest.host_offset += skipped;
  return rest;
}

void ExtentWalk::map(std::uint64_t guest_offset) {
  const Extent extent = map_above(guest_offset, image_->virtual_size() - guest_offset);
  guest_offset_ = guest_offset;
  run_ = {.length_bytes = extent.length_bytes,
          .kind = extent.kind,
          .depth = extent.depth,
          .is_storage_hole = false,
          .has_host_offset = extent.host_offset.has_value(),
          .host_offset = extent.host_offset.value_or(0),
          .storage = extent.storage};
  if (run_.kind == ExtentKind::data && run_.has_host_offset && run_.storage != nullptr &&
      (search_ == HoleSearch::everywhere || has_holes(run_.depth, run_.storage))) {
    look_for_hole();
  }
}

Extent ExtentWalk::map_above(std::uint64_t guest_offset, std::uint64_t length_bytes) const {
  if (below_ == nullptr) return image_->map(guest_offset, length_bytes);
  std::uint32_t depth = 0;
  for (Image* image = image_;; image = image->backing(), ++depth) {
    Extent extent = image->map_layer(guest_offset, length_bytes);
    extent.depth = depth;
    const Image* next = image->backing();
    if (extent.kind != ExtentKind::unallocated || next == nullptr || next == below_ ||
        guest_offset >= next->virtual_size()) {
      return extent;
    }
    length_bytes = std::min(extent.length_bytes, next->virtual_size() - guest_offset);
  }
}

void ExtentWalk::look_for_hole() {
  if (run_.storage != storage_ || run_.host_offset < storage_begin_ ||
      run_.host_offset >= storage_end_) {
    const StorageExtent found = run_.storage->extent_at(
        run_.host_offset, std::max(run_.length_bytes, kStorageLookAheadBytes));
    storage_ = run_.storage;
    storage_begin_ = run_.host_offset;
    storage_end_ = run_.host_offset + found.length_bytes;
    storage_is_hole_ = found.is_hole;
  }
  run_.is_storage_hole = storage_is_hole_;
  run_.length_bytes = std::min(run_.length_bytes, storage_end_ - run_.host_offset);
}

bool ExtentWalk::has_holes(std::uint32_t depth, const Storage* storage) {
  if (layer_has_holes_.size() <= depth) layer_has_holes_.resize(depth + 1);
  std::optional<bool>& known = layer_has_holes_[depth];
  if (!known) {
    Image* layer = image_;
    for (; depth > 0; --depth) layer = layer->backing();
    known = storage == &layer->storage() && occupies_less_than_it_uses(*layer);
  }
  return *known;
}

}  // namespace qcowkit
