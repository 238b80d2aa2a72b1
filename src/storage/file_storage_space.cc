// A regular file or a block device as a storage: zeroes, holes and size.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include "base/checked.h"
#include "base/zeroes.h"
#include "qcowkit/error.h"
#include "storage/file_storage.h"

namespace qcowkit {

namespace {

constexpr std::uint64_t kMaxOffset = std::numeric_limits<off_t>::max();

/// So few zeroes are written: that costs less than a change of the file's extents, and a file that
/// fallocate(2) has given space to is one that XFS never takes anything back of: what it had
/// reserved beyond the file's end, in the hope of more to come, would stay with it, as much again
/// as the file is long. A table of clusters of the usual size is not to have that effect, nor one
/// of any size that the file grows by.
constexpr std::uint64_t kFewBytes = 64 << 10;
constexpr std::uint64_t kFewBytesOfGrowth = 2 << 20;

/// Holds a range against the read-modify-writes of direct I/O, where there are any.
class ChangedRange {
 public:
  ChangedRange(std::optional<DirectIo>& direct, std::uint64_t first, std::uint64_t end,
               RangeLock::Mode mode) {
    if (direct) guard_.emplace(direct->changes(), first, end, mode);
  }

 private:
  std::optional<RangeLock::Guard> guard_;
};

}  // namespace

bool FileStorage::write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                               ZeroOptions options) {
  require_writable();
  if (length_bytes == 0) return true;
  const char* const operation = "write zeroes to";
  const auto end = checked_add(host_offset, length_bytes);
  if (!end || *end > kMaxOffset) fail(EFBIG, operation, host_offset, length_bytes);
  if (is_device() && *end > size()) fail(ENOSPC, operation, host_offset, length_bytes);

  raise(Event::pwritev_zero, host_offset, length_bytes);
  const FileExtents::Change change(extents_);
  int error = EOPNOTSUPP;
  if (options.may_unmap || options.no_fallback || !are_few(host_offset, length_bytes)) {
    error = zero_fast(host_offset, length_bytes, options);
    if (error == 0) error = sync_if_write_through();
    if (error == EOPNOTSUPP && options.no_fallback) return false;
  }
  if (error == EOPNOTSUPP) error = write_zero_buffers(host_offset, length_bytes);
  if (error != 0) fail(error, operation, host_offset, length_bytes);
  raise(Event::pwritev_done, host_offset);
  return true;
}

bool FileStorage::are_few(std::uint64_t host_offset, std::uint64_t length_bytes) const {
  return length_bytes <= kFewBytes ||
         (length_bytes <= kFewBytesOfGrowth && !is_device() && host_offset >= size());
}

int FileStorage::write_zero_buffers(std::uint64_t host_offset, std::uint64_t length_bytes) {
  std::array<iovec, 16> buffers;
  while (length_bytes > 0) {
    std::size_t count = 0;
    std::uint64_t batch = 0;
    while (count < buffers.size() && batch < length_bytes) {
      const std::uint64_t length = std::min<std::uint64_t>(length_bytes - batch, kZeroBytes);
      // writev(2) only reads them.
      buffers[count++] = {const_cast<std::byte*>(zeroes().data()), length};
      batch += length;
    }
    if (const int error = write_range(host_offset, {buffers.data(), count})) return error;
    host_offset += batch;
    length_bytes -= batch;
  }
  return 0;
}

/// Returns EOPNOTSUPP where the zeroes have to be written.
int FileStorage::zero_fast(std::uint64_t host_offset, std::uint64_t length_bytes,
                           ZeroOptions options) {
  const int error = is_device() ? zero_fast_on_device(host_offset, length_bytes, options)
                                : zero_fast_in_file(host_offset, length_bytes, options);
  // Some file systems refuse ranges that do not suit them.
  return error == EINVAL ? EOPNOTSUPP : error;
}

int FileStorage::zero_fast_in_file(std::uint64_t host_offset, std::uint64_t length_bytes,
                                   ZeroOptions options) {
  const std::uint64_t end = host_offset + length_bytes;
  if (options.may_unmap) {
    const int error = punch_in_file(host_offset, length_bytes);
    if (error == 0) return grow_to(end);
    if (error != EOPNOTSUPP) return error;
  }
  const ChangedRange range(direct_, host_offset, end, RangeLock::Mode::shared);
  return space_.zero(host_offset, length_bytes, options.no_fallback);
}

int FileStorage::zero_fast_on_device(std::uint64_t host_offset, std::uint64_t length_bytes,
                                     ZeroOptions options) {
  const std::uint64_t end = host_offset + length_bytes;
  const std::uint64_t first = align_up(host_offset, device_sector_bytes_);
  const std::uint64_t last = align_down(end, device_sector_bytes_);
  if (first >= last) return EOPNOTSUPP;
  {
    const ChangedRange range(direct_, first, last, RangeLock::Mode::shared);
    int error = options.may_unmap ? space_.punch(first, last - first) : EOPNOTSUPP;
    if (error == EOPNOTSUPP) error = space_.zero(first, last - first, options.no_fallback);
    if (error != 0) return error;
  }
  if (const int error = write_zero_buffers(host_offset, first - host_offset)) return error;
  return write_zero_buffers(last, end - last);
}

/// Makes a hole of what the range covers of the file as it is.
int FileStorage::punch_in_file(std::uint64_t host_offset, std::uint64_t length_bytes) {
  const std::uint64_t file_end = size();
  if (host_offset >= file_end) return 0;
  const std::uint64_t end = std::min(host_offset + length_bytes, file_end);
  const ChangedRange range(direct_, host_offset, end, RangeLock::Mode::shared);
  return space_.punch(host_offset, end - host_offset);
}

/// Makes the file at least that long, without ever shortening what others write meanwhile: hence
/// by writing its last byte, which the caller wants to be zero, and not by ftruncate(2).
int FileStorage::grow_to(std::uint64_t end) {
  return size() >= end ? 0 : write_zero_buffers(end - 1, 1);
}

void FileStorage::discard(std::uint64_t host_offset, std::uint64_t length_bytes) {
  require_writable();
  const std::uint64_t file_end = size();
  if (host_offset >= file_end) return;
  std::uint64_t first = host_offset;
  std::uint64_t end = host_offset + std::min(length_bytes, file_end - host_offset);
  if (is_device()) {
    first = align_up(first, device_sector_bytes_);
    end = align_down(end, device_sector_bytes_);
    if (first >= end) return;
  }
  const FileExtents::Change change(extents_);
  const ChangedRange range(direct_, first, end, RangeLock::Mode::shared);
  const int error = space_.discard(first, end - first);
  // It was a hint; only real trouble is worth a word.
  if (error == EIO) fail(error, "discard", host_offset, length_bytes);
}

void FileStorage::resize(std::uint64_t new_size_bytes, Preallocation preallocation) {
  require_writable();
  const std::uint64_t old_size = size();
  if (is_device()) {
    if (new_size_bytes <= old_size) return;
    throw Error(std::make_error_code(std::errc::no_space_on_device),
                fmt::format("{}: Cannot grow device files", name_));
  }
  const FileExtents::Change change(extents_);
  const bool preallocates = new_size_bytes > old_size && (preallocation == Preallocation::falloc ||
                                                          preallocation == Preallocation::full);
  int error = new_size_bytes > kMaxOffset ? EFBIG
              : preallocates              ? preallocate(old_size, new_size_bytes, preallocation)
                                          : set_size(new_size_bytes);
  if (error == 0) error = sync_if_write_through();
  if (error != 0) {
    throw os_error(error, fmt::format("{}: resize to {} bytes", name_, new_size_bytes));
  }
}

int FileStorage::set_size(std::uint64_t new_size_bytes) {
  const ChangedRange all(direct_, 0, RangeLock::kToTheEnd, RangeLock::Mode::exclusive);
  while (::ftruncate(fd_.get(), static_cast<off_t>(new_size_bytes)) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

/// Provides host space for the new bytes; if that fails, the file has its old size again.
int FileStorage::preallocate(std::uint64_t old_size, std::uint64_t new_size,
                             Preallocation preallocation) {
  int error = EOPNOTSUPP;
  if (preallocation == Preallocation::falloc) {
    const ChangedRange range(direct_, old_size, new_size, RangeLock::Mode::shared);
    error = space_.allocate(old_size, new_size - old_size);
  }
  if (error == EOPNOTSUPP) error = write_zero_buffers(old_size, new_size - old_size);
  if (error != 0) set_size(old_size);
  return error;
}

}  // namespace qcowkit
