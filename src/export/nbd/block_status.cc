#include "export/nbd/block_status.h"

#include "base/nbd_wire.h"

namespace qcowkit::nbd {

namespace {

std::uint32_t allocation_flags(const Extent& extent) noexcept {
  switch (extent.kind) {
    case ExtentKind::unallocated:
    case ExtentKind::zero:
      return allocation_flag::kHole | allocation_flag::kZero;
    case ExtentKind::data:
    case ExtentKind::compressed:
      return 0;
  }
  return 0;
}

/// The status of the range's first byte, and for how many bytes it holds.
StatusExtent status_at(const ServedExport& disk, const MetaContext& context,
                       std::uint64_t guest_offset, std::uint64_t length_bytes) {
  if (context.kind == MetaContext::Kind::bitmap) {
    const BitmapExtent found = disk.image.map_bitmap(context.bitmap, guest_offset, length_bytes);
    return {found.length_bytes, found.is_dirty ? kDirtyFlag : 0};
  }
  const Extent found = disk.image.map(guest_offset, length_bytes);
  if (context.kind == MetaContext::Kind::depth) {
    const bool is_there = found.kind != ExtentKind::unallocated;
    return {found.length_bytes, is_there ? found.depth + 1 : 0};
  }
  return {found.length_bytes, allocation_flags(found)};
}

}  // namespace

std::vector<StatusExtent> block_status(const ServedExport& disk, const MetaContext& context,
                                       std::uint64_t offset, std::uint64_t length_bytes,
                                       std::uint32_t extents_max) {
  std::vector<StatusExtent> extents;
  const std::uint64_t end = offset + length_bytes;
  for (std::uint32_t lookups = 0; offset < end && lookups < kStatusLookupsMax; ++lookups) {
    const StatusExtent found = status_at(disk, context, disk.guest_offset + offset, end - offset);
    if (!extents.empty() && extents.back().flags == found.flags) {
      extents.back().length_bytes += found.length_bytes;
    } else {
      if (extents.size() == extents_max) break;
      extents.push_back(found);
    }
    offset += found.length_bytes;
  }
  return extents;
}

}  // namespace qcowkit::nbd
