// Walks an image from extent to extent, as jobs want to see it.
#include "jobs/extent_walk.h"

#include <algorithm>

#include "base/checked.h"

namespace qcowkit {

namespace {
/// How far ahead a storage is asked: extents are often small, and the answer holds for many.
constexpr std::uint64_t kStorageLookAheadBytes = std::uint64_t{1} << 30;

/// By more than one cluster and a tenth.
bool occupies_less_than_its_size(const Image& layer) {
  const std::uint64_t cluster_bytes = layer.cluster_size();
  if (cluster_bytes == 0) return false;  // The format itself tells of holes.
  const std::uint64_t clusters = divide_round_up(layer.storage().size(), cluster_bytes);
  const std::uint64_t occupied = layer.storage().allocated_bytes() / cluster_bytes;
  return clusters >= occupied + std::max<std::uint64_t>(2, clusters / 10);
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
  const Extent extent = image_->map(guest_offset, image_->virtual_size() - guest_offset);
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
    known = storage == &layer->storage() && occupies_less_than_its_size(*layer);
  }
  return *known;
}

}  // namespace qcowkit
