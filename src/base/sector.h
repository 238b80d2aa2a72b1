// The unit in which disks have always counted.
#pragma once

#include <cstdint>

namespace qcowkit {

/// The smallest part of a disk that formats, options and messages speak of.
inline constexpr std::uint64_t kSectorBytes = 512;

}  // namespace qcowkit
