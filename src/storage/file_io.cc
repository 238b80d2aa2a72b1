// Whole transfers between lists of buffers and a file descriptor, and the descriptor's owner.
#include "storage/file_io.h"

#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "storage/iovec_cursor.h"

namespace qcowkit {

namespace {

constexpr std::uint64_t kMaxOffset = std::numeric_limits<off_t>::max();

ssize_t read_some(int fd, std::uint64_t host_offset, std::span<const iovec> into) noexcept {
  const auto offset = static_cast<off_t>(host_offset);
  while (true) {
    const ssize_t got = into.size() == 1
                            ? ::pread(fd, into[0].iov_base, into[0].iov_len, offset)
                            : ::preadv(fd, into.data(), static_cast<int>(into.size()), offset);
    if (got >= 0 || errno != EINTR) return got;
  }
}

ssize_t write_some(int fd, std::uint64_t host_offset, std::span<const iovec> from) noexcept {
  const auto offset = static_cast<off_t>(host_offset);
  while (true) {
    const ssize_t put = from.size() == 1
                            ? ::pwrite(fd, from[0].iov_base, from[0].iov_len, offset)
                            : ::pwritev(fd, from.data(), static_cast<int>(from.size()), offset);
    if (put >= 0 || errno != EINTR) return put;
  }
}

/// Calls `some` until all buffers are through, it fails, or it transfers nothing. Returns how
/// many bytes went through; errno tells of the failure, and is 0 where there was none.
template <typename Some>
std::size_t transfer(Some some, int fd, std::uint64_t host_offset, std::span<const iovec> buffers,
                     std::uint32_t transfer_unit_bytes) noexcept {
  IovecCursor cursor(buffers);
  std::size_t done = 0;
  std::array<iovec, 64> rest;
  // Nearly always the first call does everything, with the caller's own list.
  ssize_t moved = some(fd, host_offset, buffers.size() <= IOV_MAX ? buffers : cursor.peek(rest));
  while (true) {
    if (moved < 0) return done;
    errno = 0;
    done += static_cast<std::size_t>(moved);
    if (moved == 0 || done % transfer_unit_bytes != 0) return done;
    cursor.skip(static_cast<std::size_t>(moved));
    if (cursor.remaining() == 0) return done;
    moved = some(fd, host_offset + done, cursor.peek(rest));
  }
}

/// Between looks at what is cached: pages come and go many at a time.
constexpr std::uint64_t kLookEveryBytes = 256 << 10;

enum class Look : std::uint8_t { is_cached, is_not, cannot_tell };

Look look_at(int fd, std::uint64_t host_offset) noexcept {
  char byte;
  const iovec into{&byte, 1};
  const ssize_t got = ::preadv2(fd, &into, 1, static_cast<off_t>(host_offset), RWF_NOWAIT);
  if (got < 0 && errno == EOPNOTSUPP) return Look::cannot_tell;
  return got == 1 ? Look::is_cached : Look::is_not;
}

bool lives_in_memory(int fd) noexcept {
  struct statfs found {};
  return ::fstatfs(fd, &found) == 0 && found.f_type == TMPFS_MAGIC;
}

}  // namespace

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)) {}

int FileDescriptor::close() noexcept {
  if (fd_ < 0) return 0;
  // The descriptor is gone even when close fails, so it is never tried again.
  return ::close(std::exchange(fd_, -1)) == 0 ? 0 : errno;
}

int read_whole(int fd, std::uint64_t host_offset, std::span<const iovec> into,
               std::uint32_t transfer_unit_bytes) noexcept {
  const std::size_t total = total_bytes(into);
  if (total == 0) return 0;
  std::size_t done = 0;
  if (host_offset < kMaxOffset) {
    done = transfer(read_some, fd, host_offset, into, transfer_unit_bytes);
    if (done == total) return 0;
    if (errno != 0) return errno;
  }
  IovecCursor past_end(into);
  past_end.skip(done);
  past_end.fill_zero(past_end.remaining());
  return 0;
}

int write_whole(int fd, std::uint64_t host_offset, std::span<const iovec> from) noexcept {
  const std::size_t total = total_bytes(from);
  if (total == 0) return 0;
  const auto end = checked_add<std::uint64_t>(host_offset, total);
  if (!end || *end > kMaxOffset) return EFBIG;
  if (transfer(write_some, fd, host_offset, from, 1) == total) return 0;
  // A write that neither moves nor fails has met the end of a device.
  return errno != 0 ? errno : ENOSPC;
}

std::uint64_t cached_bytes(int fd, std::uint64_t host_offset, std::uint64_t length_bytes) noexcept {
  if (length_bytes == 0) return 0;
  const Look first = look_at(fd, host_offset);
  if (first == Look::cannot_tell) return lives_in_memory(fd) ? length_bytes : 0;
  if (first == Look::is_not) return 0;
  std::uint64_t cached = 0;
  while (cached < length_bytes) {
    const std::uint64_t next = std::min(cached + kLookEveryBytes, length_bytes);
    if (look_at(fd, host_offset + next - 1) != Look::is_cached) break;
    cached = next;
  }
  return cached;
}

}  // namespace qcowkit
