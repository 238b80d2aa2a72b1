// Reading a whole L1 table, the active one's or a snapshot's.
#pragma once

#include <cstdint>
#include <vector>

#include "base/offsets.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

/// An L1 table's entries, raw. Throws I/O errors.
std::vector<std::uint64_t> load_l1_table(Storage& storage, HostOffset host_offset,
                                         std::uint64_t entries);

}  // namespace qcowkit::qcow2
