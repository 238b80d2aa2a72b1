// Bounds of LUKS volumes.
#pragma once

#include <cstdint>

namespace qcowkit::luks {

/// The largest disk, in bytes: with a header in front of it, it is still a file.
inline constexpr std::uint64_t kDiskBytesMax = (std::uint64_t{1} << 63) - (1 << 24);

}  // namespace qcowkit::luks
