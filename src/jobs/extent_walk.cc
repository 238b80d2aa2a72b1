// Walks an image from extent to extent, as jobs want to see it.
#include "jobs/extent_walk.h"

#include <algorithm>

namespace qcowkit {

namespace {
/// How far ahead a storage is asked: extents are often small, and the answer holds for many.
constexpr std::uint64_t kStorageLookAheadBytes = std::uint64_t{1} << 30;

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
  Extent extent = extent_at(guest_offset);
  const bool is_hole = holes_ && holes_->cut(extent);
  guest_offset_ = guest_offset;
  run_ = {.length_bytes = extent.length_bytes,
          .kind = extent.kind,
          .depth = extent.depth,
          .is_storage_hole = is_hole,
          .has_host_offset = extent.host_offset.has_value(),
          .host_offset = extent.host_offset.value_or(0),
          .storage = extent.storage};
  if (!holes_ && run_.kind == ExtentKind::data && run_.has_host_offset && run_.storage != nullptr) {
    look_for_hole();
  }
}

/// The extent that begins at `guest_offset`, or the rest of the one that reaches it.
Extent ExtentWalk::extent_at(std::uint64_t guest_offset) {
  const std::uint64_t length_bytes = image_->virtual_size() - guest_offset;
  if (below_ != nullptr) return map_above(guest_offset, length_bytes);
  const auto reaches = [&](const Extent& extent) {
    return guest_offset >= extent.guest_offset &&
           guest_offset - extent.guest_offset < extent.length_bytes;
  };
  while (next_ < ahead_count_ && !reaches(ahead_[next_])) ++next_;
  if (next_ == ahead_count_) {
    ahead_count_ = image_->map(guest_offset, length_bytes, ahead_);
    next_ = 0;
  }
  Extent extent = ahead_[next_];
  const std::uint64_t skipped = guest_offset - extent.guest_offset;
  extent.guest_offset = guest_offset;
  extent.length_bytes -= skipped;
  if (extent.host_offset && extent.kind != ExtentKind::compressed) *extent.host_offset += skipped;
  return extent;
}

Extent ExtentWalk::map_above(std::uint64_t guest_offset, std::uint64_t length_bytes) const {
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

}  // namespace qcowkit
