// Reads and writes of any alignment on a file that is open with O_DIRECT.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <limits>
#include <span>

#include "base/mutex.h"
#include "base/range_lock.h"
#include "qcowkit/storage.h"
#include "storage/file_io.h"
#include "storage/whole_blocks.h"

namespace qcowkit {

/// What O_DIRECT asks of a request, in bytes; both are powers of two, at most 4096.
struct DirectAlignment {
  std::uint32_t memory = 0;
  std::uint32_t offset = 0;  ///< and of lengths: the sector
};

/// Finds out what the open file asks for. `device_sector_bytes` is a block device's own answer, 0
/// for a file. Returns {0, 0} if the file cannot do direct I/O at all.
DirectAlignment find_direct_alignment(int fd, std::uint32_t device_sector_bytes) noexcept;

/// Thread-safe. Requests that are aligned go to the kernel as they are. Others pass through
/// buffers, and the sectors that a write covers only in part are read first; nobody else changes
/// them meanwhile. Beyond the end of a file, the padding of the last sector is cut off again
/// before `write` returns, and `size` never tells of it.
///
/// Whatever changes the file otherwise (fallocate, truncate, copy_file_range) holds the range
/// from `changes()` while it does.
class DirectIo {
 public:
  /// `is_device`: the size is fixed, nothing is ever cut off. `is_write_through`: the file is open
  /// with O_DSYNC, and cutting off is to be as durable as writing.
  DirectIo(const FileDescriptor& fd, DirectAlignment alignment, bool is_device,
           bool is_write_through) noexcept
      : fd_(fd),
        alignment_(alignment),
        sectors_(alignment.offset, kBufferBytesMax),
        is_device_(is_device),
        is_write_through_(is_write_through) {}

  const DirectAlignment& alignment() const noexcept { return alignment_; }
  RangeLock& changes() noexcept { return changes_; }

  /// Both return 0 or an errno, and throw std::bad_alloc. Events are raised on `storage`, if it is
  /// not null: pwritev_rmw_* where sectors have to be read to complete a write.
  int read(std::uint64_t host_offset, std::span<const iovec> into);
  int write(std::uint64_t host_offset, std::span<const iovec> from,
            const Storage* storage = nullptr);

  /// The file's size without padding that is about to be cut off.
  std::uint64_t size() const;

 private:
  class Sectors;
  bool is_aligned_request(std::uint64_t host_offset, std::span<const iovec> buffers) const noexcept;
  int write_padded(std::uint64_t host_offset, std::span<const iovec> from, const Storage* storage);
  int write_sectors(std::uint64_t host_offset, std::span<const iovec> from, const Storage* storage);
  void hide_beyond(std::uint64_t end) EXCLUDES(size_mutex_);
  int cut_off_beyond(std::uint64_t end) EXCLUDES(size_mutex_);

  static constexpr std::uint64_t kBufferBytesMax = std::uint64_t{1} << 20;
  static constexpr std::uint64_t kNothingHidden = std::numeric_limits<std::uint64_t>::max();

  // Constant after construction.
  const FileDescriptor& fd_;
  const DirectAlignment alignment_;
  const WholeBlocks sectors_;
  const bool is_device_;
  const bool is_write_through_;

  RangeLock changes_;
  mutable Mutex size_mutex_;
  std::uint64_t visible_end_ GUARDED_BY(size_mutex_) = kNothingHidden;
};

}  // namespace qcowkit
