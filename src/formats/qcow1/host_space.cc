#include "formats/qcow1/host_space.h"

#include <algorithm>
#include <cerrno>

#include "base/checked.h"
#include "qcowkit/error.h"

namespace qcowkit::qcow1 {

HostSpace::Range HostSpace::allocate(std::uint64_t bytes, std::uint64_t alignment,
                                     std::uint64_t end_max) {
  const MutexLock lock(mutex_);
  const std::uint64_t start = align_up(end_, alignment);
  if (bytes > limit_ || start > limit_ - bytes) {
    throw os_error(ENOSPC, "there is no room behind the image's last cluster");
  }
  if (bytes > end_max || start > end_max - bytes) {
    throw os_error(EFBIG, "clusters cannot lie so far behind in the image");
  }
  end_ = start + bytes;
  const bool is_fresh = start >= used_end_;
  used_end_ = std::max(used_end_, end_);
  return {{start}, is_fresh};
}

void HostSpace::release(HostOffset host_offset, std::uint64_t bytes) noexcept {
  const MutexLock lock(mutex_);
  if (host_offset.value + bytes == end_) end_ = host_offset.value;
}

void HostSpace::reset(std::uint64_t file_bytes) {
  const MutexLock lock(mutex_);
  end_ = file_bytes;
  used_end_ = file_bytes;
}

}  // namespace qcowkit::qcow1
