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

int clone_range(FilePlace source, FilePlace destination, std::uint64_t length_bytes) noexcept {
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
std::uint64_t copy_range(FilePlace source, FilePlace destination, std::uint64_t length_bytes,
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

/// A copy under way.
struct CopyOffload::Task {
  FilePlace source;                // of the next byte
  FilePlace destination;           // of the next byte
  std::uint64_t length_bytes = 0;  // what is left, none of it past the source's end
  std::uint64_t done_bytes = 0;
  std::uint64_t source_device = kNone;
  std::uint64_t block_bytes = 1;  // what the destination's file system clones by

  void advance(std::uint64_t bytes) noexcept {
    source.host_offset += bytes;
    destination.host_offset += bytes;
    length_bytes -= bytes;
    done_bytes += bytes;
  }
  /// Bytes up to the next start of a block.
  std::uint64_t to_next_block() const noexcept {
    return std::min((block_bytes - source.host_offset % block_bytes) % block_bytes, length_bytes);
  }
  bool is_congruent() const noexcept {
    return source.host_offset % block_bytes == destination.host_offset % block_bytes;
  }
};

CopyOffload::Task CopyOffload::prepare(FilePlace source, FilePlace destination,
                                       std::uint64_t length_bytes) noexcept {
  Task task{source, destination};
  struct stat from {};
  struct stat to {};
  if (::fstat(source.fd, &from) != 0 || ::fstat(destination.fd, &to) != 0) return task;
  const auto source_size = static_cast<std::uint64_t>(from.st_size);
  if (source.host_offset < source_size) {
    task.length_bytes = std::min(length_bytes, source_size - source.host_offset);
  }
  task.source_device = static_cast<std::uint64_t>(from.st_dev);
  task.block_bytes = std::max<std::uint64_t>(static_cast<std::uint64_t>(to.st_blksize), 1);
  return task;
}

/// Returns true if all of the bytes were copied.
bool CopyOffload::copy_bytes(Task& task, std::uint64_t length_bytes) noexcept {
  if (length_bytes == 0) return true;
  if (cannot_copy_from_.load(std::memory_order_relaxed) == task.source_device) return false;
  int error = 0;
  const std::uint64_t copied = copy_range(task.source, task.destination, length_bytes, error);
  task.advance(copied);
  if (means_impossible(error)) {
    cannot_copy_from_.store(task.source_device, std::memory_order_relaxed);
  }
  return copied == length_bytes;
}

/// Clones all whole blocks, or nothing. The task is at a block's start in both files.
void CopyOffload::clone_blocks(Task& task) noexcept {
  const std::uint64_t length = task.length_bytes / task.block_bytes * task.block_bytes;
  if (length == 0) return;
  const int error = clone_range(task.source, task.destination, length);
  if (error == 0) task.advance(length);
  if (means_impossible(error)) {
    cannot_clone_from_.store(task.source_device, std::memory_order_relaxed);
  }
}

bool CopyOffload::may_clone(const Task& task) const noexcept {
  return task.is_congruent() &&
         cannot_clone_from_.load(std::memory_order_relaxed) != task.source_device;
}

std::uint64_t CopyOffload::copy(FilePlace source, FilePlace destination,
                                std::uint64_t length_bytes) noexcept {
  Task task = prepare(source, destination, length_bytes);
  if (may_clone(task)) {
    // Only whole blocks can be cloned; what is before and after them is copied.
    if (!copy_bytes(task, task.to_next_block())) return task.done_bytes;
    clone_blocks(task);
  }
  copy_bytes(task, task.length_bytes);
  return task.done_bytes;
}

std::uint64_t CopyOffload::clone(FilePlace source, FilePlace destination,
                                 std::uint64_t length_bytes) noexcept {
  Task task = prepare(source, destination, length_bytes);
  if (may_clone(task) && task.to_next_block() == 0) clone_blocks(task);
  return task.done_bytes;
}

}  // namespace qcowkit
