// Room at the end of an image's file, which is the only room there is.
#pragma once

#include <cstdint>

#include "base/mutex.h"
#include "base/offsets.h"

namespace qcowkit::qcow1 {

/// Thread-safe. Hands out host ranges; does no I/O.
class HostSpace {
 public:
  struct Range {
    HostOffset host_offset{};
    bool is_fresh = false;  ///< never written: reads as zeroes
  };

  /// The file has `file_bytes`; `limit` is what it can have.
  HostSpace(std::uint64_t file_bytes, std::uint64_t limit)
      : limit_(limit), end_(file_bytes), used_end_(file_bytes) {}

  /// Reserves `bytes` behind all that is reserved or stored, from a multiple of `alignment` on,
  /// and ending at `end_max` or before. Throws `Error`: ENOSPC, EFBIG.
  Range allocate(std::uint64_t bytes, std::uint64_t alignment, std::uint64_t end_max);
  /// Gives back what was reserved last; what lies before something else is lost.
  void release(HostOffset host_offset, std::uint64_t bytes) noexcept;
  /// The file has been cut off, or has been changed by somebody else.
  void reset(std::uint64_t file_bytes);

 private:
  const std::uint64_t limit_;

  Mutex mutex_;
  std::uint64_t end_ GUARDED_BY(mutex_);
  std::uint64_t used_end_ GUARDED_BY(mutex_);  // behind all that was ever handed out
};

}  // namespace qcowkit::qcow1
