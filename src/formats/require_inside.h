// Structures that have to be in the file that names them.
#pragma once

#include <fmt/core.h>

#include <cstdint>

#include "base/offsets.h"
#include "qcowkit/error.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// Throws `Error` (corrupt) unless the `bytes` bytes of `structure` lie within the storage.
inline void require_inside(const Storage& storage, const char* structure, HostOffset offset,
                           std::uint64_t bytes) {
  const std::uint64_t size = storage.size();
  if (bytes <= size && offset.value <= size - bytes) return;
  throw Error(Errc::corrupt, fmt::format("{}: {} bytes at offset {:#x} lie beyond the end of the "
                                         "file, which has {} bytes",
                                         structure, bytes, offset.value, size));
}

}  // namespace qcowkit
