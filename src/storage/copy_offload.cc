// Copies between files that do not pass through user space.
#include "storage/copy_offload.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace qcowkit {

namespace {

/// copy_file_range(2) is called with no more at once, so that it can be interrupted.
constexpr std::uint64_t kMaxCopyBytes = 1 << 30;

/// True for failures that no other range of the same two files would be spared.
bool means_impossible(int error) noexcept {
  return error == EOPNOTSUPP || error == ENOSYS || error == ENOTTY || error == EXDEV;
}

void advance(FilePlace& place, std::uint64_t bytes) noexcept { place.host_offset += bytes; }

int clone(FilePlace source, FilePlace destination, std::uint64_t length_bytes) noexcept {
  file_clone_range range{};
  range.src_fd = source.fd;
  range.src_offset = source.host_offset;
  range.src_length = length_bytes;
  range.dest_offset = destination.host_offset;
  while (::ioctl(destination.fd, FICLONERANGE, &range) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

/// Returns how many bytes were copied, and in `error` why it were no more.
std::uint64_t copy_in_kernel(FilePlace source, FilePlace destination, std::uint64_t length_bytes,
                             int& error) noexcept {
  std::uint64_t done = 0;
  error = 0;
  while (done < length_bytes) {
    auto from = static_cast<loff_t>(source.host_offset + done);
    auto to = static_cast<loff_t>(destination.host_offset + done);
    const std::uint64_t wanted = std::min(length_bytes - done, kMaxCopyBytes);
    const ssize_t copied = ::copy_file_range(source.fd, &from, destination.fd, &to, wanted, 0);
    if (copied < 0 && errno == EINTR) continue;
    if (copied < 0) error = errno;
    if (copied <= 0) break;
    done += static_cast<std::uint64_t>(copied);
  }
  return done;
}

}  // namespace

std::uint64_t CopyOffload::copy(FilePlace source, FilePlace destination,
                                std::uint64_t length_bytes) noexcept {
  struct stat from {};
  struct stat to {};
  if (::fstat(source.fd, &from) != 0 || ::fstat(destination.fd, &to) != 0) return 0;
  const auto source_size = static_cast<std::uint64_t>(from.st_size);
  if (source.host_offset >= source_size) return 0;
  const std::uint64_t length = std::min(length_bytes, source_size - source.host_offset);
  const auto device = static_cast<std::uint64_t>(from.st_dev);

  // What can be cloned is the blocks in the middle; what is before and after them is copied.
  const std::uint64_t block = std::max<std::uint64_t>(static_cast<std::uint64_t>(to.st_blksize), 1);
  const bool may_clone = cannot_clone_from_.load(std::memory_order_relaxed) != device &&
                         source.host_offset % block == destination.host_offset % block;
  const std::uint64_t head =
      may_clone ? std::min((block - source.host_offset % block) % block, length) : 0;
  const std::uint64_t middle = may_clone ? (length - head) / block * block : 0;

  std::uint64_t done = 0;
  const auto copy_up_to = [&](std::uint64_t end) {
    if (done == end) return true;
    if (cannot_copy_from_.load(std::memory_order_relaxed) == device) return false;
    int error = 0;
    const std::uint64_t copied = copy_in_kernel(source, destination, end - done, error);
    if (means_impossible(error)) cannot_copy_from_.store(device, std::memory_order_relaxed);
    advance(source, copied);
    advance(destination, copied);
    done += copied;
    return done == end;
  };

  if (!copy_up_to(head)) return done;
  if (middle > 0) {
    const int error = clone(source, destination, middle);
    if (error == 0) {
      advance(source, middle);
      advance(destination, middle);
      done += middle;
    } else if (means_impossible(error)) {
      cannot_clone_from_.store(device, std::memory_order_relaxed);
    }
  }
  copy_up_to(length);
  return done;
}

}  // namespace qcowkit
