// The host space behind a file's bytes: holes, preallocation, zeroes without writing them.
#include "storage/file_space.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

namespace qcowkit {

namespace {

constexpr std::uint64_t kToTheEnd = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kMaxOffset = std::numeric_limits<off_t>::max();

bool means_impossible(int error) noexcept {
  return error == EOPNOTSUPP || error == ENOSYS || error == ENOTTY;
}

/// Notes in `is_possible` what an errno tells for all later calls.
int learn_from(int error, std::atomic<bool>& is_possible) noexcept {
  if (!means_impossible(error)) return error;
  is_possible.store(false, std::memory_order_relaxed);
  return EOPNOTSUPP;
}

}  // namespace

int FileSpace::try_fallocate(std::atomic<bool>& is_possible, int mode, std::uint64_t host_offset,
                             std::uint64_t length_bytes) noexcept {
  if (length_bytes == 0) return 0;
  if (!is_possible.load(std::memory_order_relaxed)) return EOPNOTSUPP;
  while (::fallocate(fd_.get(), mode, static_cast<off_t>(host_offset),
                     static_cast<off_t>(length_bytes)) != 0) {
    if (errno != EINTR) return learn_from(errno, is_possible);
  }
  return 0;
}

int FileSpace::try_ioctl(std::atomic<bool>& is_possible, unsigned long request,
                         std::uint64_t host_offset, std::uint64_t length_bytes) noexcept {
  if (length_bytes == 0) return 0;
  if (!is_possible.load(std::memory_order_relaxed)) return EOPNOTSUPP;
  std::uint64_t range[2] = {host_offset, length_bytes};
  while (::ioctl(fd_.get(), request, range) != 0) {
    if (errno != EINTR) return learn_from(errno, is_possible);
  }
  return 0;
}

int FileSpace::zero(std::uint64_t host_offset, std::uint64_t length_bytes,
                    bool no_fallback) noexcept {
  if (kind_ != FileKind::regular) {
    return no_fallback ? EOPNOTSUPP
                       : try_ioctl(can_zero_device_, BLKZEROOUT, host_offset, length_bytes);
  }
  const int error = try_fallocate(can_zero_, FALLOC_FL_ZERO_RANGE, host_offset, length_bytes);
  if (error != EOPNOTSUPP || !can_allocate_.load(std::memory_order_relaxed)) return error;
  // tmpfs, for one, has the two halves of it.
  if (const int punch_error = punch(host_offset, length_bytes)) return punch_error;
  return allocate(host_offset, length_bytes);
}

int FileSpace::punch(std::uint64_t host_offset, std::uint64_t length_bytes) noexcept {
  return try_fallocate(can_punch_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, host_offset,
                       length_bytes);
}

int FileSpace::discard(std::uint64_t host_offset, std::uint64_t length_bytes) noexcept {
  return kind_ != FileKind::regular
             ? try_ioctl(can_discard_device_, BLKDISCARD, host_offset, length_bytes)
             : punch(host_offset, length_bytes);
}

int FileSpace::allocate(std::uint64_t host_offset, std::uint64_t length_bytes) noexcept {
  return try_fallocate(can_allocate_, 0, host_offset, length_bytes);
}

StorageExtent FileExtents::at(std::uint64_t host_offset, std::uint64_t length_bytes) const {
  Run run;
  if (!recall(host_offset, run)) {
    run = find_run(host_offset);
    if (!run.is_hole || trusts_holes_) {
      const MutexLock held(mutex_);
      last_ = run;
    }
  }
  return {std::min(length_bytes, run.end - host_offset), run.is_hole};
}

bool FileExtents::recall(std::uint64_t host_offset, Run& run) const {
  const std::uint64_t generation = generation_.load(std::memory_order_acquire);
  const MutexLock held(mutex_);
  if (last_.generation != generation || host_offset < last_.first || host_offset >= last_.end) {
    return false;
  }
  run = last_;
  return true;
}

FileExtents::Run FileExtents::find_run(std::uint64_t host_offset) const {
  // Read before the file is asked: a change that happens in between makes the answer outdated.
  Run run{host_offset, kToTheEnd, true, generation_.load(std::memory_order_acquire)};
  if (host_offset >= kMaxOffset) return run;
  const off_t offset = static_cast<off_t>(host_offset);
  const off_t data = ::lseek(fd_.get(), offset, SEEK_DATA);
  if (data > offset) {
    run.end = static_cast<std::uint64_t>(data);
    return run;
  }
  if (data < 0 && errno == ENXIO) return run;  // nothing but a hole, or past the end

  run.is_hole = false;
  const off_t hole = data < 0 ? -1 : ::lseek(fd_.get(), offset, SEEK_HOLE);
  if (hole > offset) {
    run.end = static_cast<std::uint64_t>(hole);
    return run;
  }
  // The file system cannot tell: all of the file is data.
  struct stat status {};
  const bool known = ::fstat(fd_.get(), &status) == 0;
  const std::uint64_t size = known ? static_cast<std::uint64_t>(status.st_size) : kToTheEnd;
  run.is_hole = host_offset >= size;
  run.end = run.is_hole ? kToTheEnd : size;
  return run;
}

}  // namespace qcowkit
