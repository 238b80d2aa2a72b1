// Part of qcowkit. MIT licence; see LICENSE.
//
// Storages whose bytes can be handed on without being read.
#pragma once

#include <cstdint>

namespace qcowkit {

/// What a `Storage` is beside where its bytes are those of an open file (`dynamic_cast` tells).
class FileBacked {
 public:
  /// Bytes that a file has at the same offsets as the storage.
  struct Run {
    int descriptor = -1;  ///< the storage's, and open as long as that is
    std::uint64_t length_bytes = 0;
  };
  /// For who hands bytes on within the kernel (sendfile): how many of them, from the range's start,
  /// need not be fetched first, as far as can be told at once. None where a read is more than a
  /// read of the file. Thread-safe.
  virtual Run cached_run(std::uint64_t host_offset, std::uint64_t length_bytes) const noexcept = 0;

 protected:
  ~FileBacked() = default;
};

}  // namespace qcowkit
