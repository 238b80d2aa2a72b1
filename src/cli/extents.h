// What a disk consists of, extent by extent.
#pragma once

#include <cstdint>
#include <functional>

#include "qcowkit/image.h"

namespace qcowkit::cli {

/// `is_hole`: the image calls it data, but its file has nothing there. False: that was enough.
using ExtentVisitor = std::function<bool(const Extent& extent, bool is_hole)>;

/// Calls `visit` for all that the range consists of, in guest order, without gaps. Each extent is
/// all data or all a hole of its file, as far as holes are looked for (`HoleFinder`). The image and
/// its chain are not written meanwhile.
void visit_extents(Image& image, std::uint64_t begin, std::uint64_t end,
                   const ExtentVisitor& visit);

}  // namespace qcowkit::cli
