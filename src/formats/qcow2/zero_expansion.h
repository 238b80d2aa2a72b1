// Making an image do without zero flags, which version 2 has not.
#pragma once

#include <functional>

#include "base/offsets.h"
#include "formats/qcow2/metadata.h"

namespace qcowkit::qcow2 {

/// Writes zeroes as guest data to a host cluster.
using WriteZeroCluster = std::function<void(GuestOffset guest_offset, HostOffset host_offset)>;

/// Replaces the zero flags of all L2 tables, those of snapshots too, by what reads the same:
/// nothing where there is no backing file, else a host cluster of zeroes. Nobody else uses the
/// image, and everything is on the disk. What every snapshot and the disk read as does not change,
/// also by a crash in the middle. Throws `Error`: no space, corrupt, I/O errors.
void expand_zero_flags(Metadata& metadata, bool has_backing_file, const WriteZeroCluster& zero);

}  // namespace qcowkit::qcow2
