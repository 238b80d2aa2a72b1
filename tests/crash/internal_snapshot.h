// An internal snapshot, made by the reference and read through its own L1 table.
#pragma once

#include <cstddef>
#include <vector>

#include "tests/crash/image_files.h"

namespace qcowkit::test {

/// Whether `take_snapshot` can work here: it needs qemu-img.
bool can_take_snapshots();
/// Takes an internal snapshot of an image that nobody has open.
void take_snapshot(const ImageFiles& files);
/// What the guest of the image's only snapshot reads.
std::vector<std::byte> read_snapshot(const Shape& shape, const ImageFiles& files);

}  // namespace qcowkit::test
