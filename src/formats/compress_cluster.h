// Compressing a cluster with what each thread keeps for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "qcowkit/image.h"

namespace qcowkit {

/// Compresses a cluster; `cluster` may be shorter at the disk's end, and zeroes follow then. Empty
/// bytes if the result would not be smaller than `cluster_size_bytes`. Thread-safe. Throws `Error`
/// (invalid_argument) for a level that the type does not have.
CompressedCluster compress_cluster(CompressionType type, int level,
                                   std::span<const std::byte> cluster,
                                   std::uint64_t cluster_size_bytes);

}  // namespace qcowkit
