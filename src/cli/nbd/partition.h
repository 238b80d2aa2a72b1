// Where a partition of a disk lies.
#pragma once

#include <cstdint>

#include "qcowkit/image.h"

namespace qcowkit::cli::nbd {

struct Partition {
  std::uint64_t guest_offset = 0;
  std::uint64_t size_bytes = 0;
};

/// Reads the disk's partition table, an MBR (with logical partitions from 5 on) or a GPT, in
/// sectors of 512 bytes. Throws `Failure` if there is none, or no such partition, or it lies not on
/// the disk.
Partition find_partition(Image& image, std::uint32_t number);

}  // namespace qcowkit::cli::nbd
