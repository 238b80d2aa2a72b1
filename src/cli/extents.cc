// What a disk consists of, extent by extent.
#include "cli/extents.h"

#include <array>
#include <span>

#include "qcowkit/jobs.h"

namespace qcowkit::cli {

namespace {

/// Cuts an extent where data and holes of its file meet.
bool visit_parts(const Extent& whole, HoleFinder& holes, const ExtentVisitor& visit) {
  const std::uint64_t end = whole.guest_offset + whole.length_bytes;
  Extent part = whole;
  for (;;) {
    const bool is_hole = holes.cut(part);
    if (!visit(part, is_hole)) return false;
    const std::uint64_t done = part.length_bytes;
    part.guest_offset += done;
    if (part.guest_offset == end) return true;
    part.length_bytes = end - part.guest_offset;
    if (part.host_offset) *part.host_offset += done;
  }
}

}  // namespace

void visit_extents(Image& image, std::uint64_t begin, std::uint64_t end,
                   const ExtentVisitor& visit) {
  HoleFinder holes(image);
  std::array<Extent, 256> extents;
  while (begin < end) {
    const std::size_t count = image.map(begin, end - begin, extents);
    for (const Extent& extent : std::span(extents).first(count)) {
      if (!visit_parts(extent, holes, visit)) return;
      begin += extent.length_bytes;
    }
  }
}

}  // namespace qcowkit::cli
