// The host space behind a file's bytes: holes, preallocation, zeroes without writing them.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/mutex.h"
#include "qcowkit/storage.h"
#include "storage/file_io.h"

namespace qcowkit {

enum class FileKind { regular, block_device, character_device };

/// Asks the kernel for what may or may not be possible on this file, and remembers what is not.
/// Thread-safe. Every function returns 0, EOPNOTSUPP where there is no such way, or another errno.
class FileSpace {
 public:
  FileSpace(const FileDescriptor& fd, FileKind kind) noexcept : fd_(fd), kind_(kind) {}

  /// Zeroes that keep their host space, or get some. A regular file grows as needed. On a block
  /// device the range is aligned to its sectors; `no_fallback` rules out what the kernel may do by
  /// writing.
  int zero(std::uint64_t host_offset, std::uint64_t length_bytes, bool no_fallback) noexcept;
  /// Zeroes without host space. Never grows the file. Aligned on a block device.
  int punch(std::uint64_t host_offset, std::uint64_t length_bytes) noexcept;
  /// Gives up the content. Never grows the file. Aligned on a block device.
  int discard(std::uint64_t host_offset, std::uint64_t length_bytes) noexcept;
  /// Host space for the range of a regular file, which grows as needed; the content stays.
  int allocate(std::uint64_t host_offset, std::uint64_t length_bytes) noexcept;

 private:
  int try_fallocate(std::atomic<bool>& is_possible, int mode, std::uint64_t host_offset,
                    std::uint64_t length_bytes) noexcept;
  int try_ioctl(std::atomic<bool>& is_possible, unsigned long request, std::uint64_t host_offset,
                std::uint64_t length_bytes) noexcept;

  // Constant after construction.
  const FileDescriptor& fd_;
  const FileKind kind_;

  std::atomic<bool> can_zero_{true};
  std::atomic<bool> can_punch_{true};
  std::atomic<bool> can_allocate_{true};
  std::atomic<bool> can_zero_device_{true};
  std::atomic<bool> can_discard_device_{true};
};

/// Tells data from holes in a regular file, remembering the last answer. Thread-safe.
///
/// An answer that was remembered before a change of the file is never given after it.
class FileExtents {
 public:
  /// Whoever changes the file holds one of these until the change is there or has failed.
  class Change {
   public:
    explicit Change(FileExtents& extents) noexcept : extents_(extents) {}
    ~Change() { extents_.generation_.fetch_add(1, std::memory_order_release); }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;

   private:
    FileExtents& extents_;
  };

  /// `trusts_holes`: nobody else can change the file, so that holes may be remembered as well.
  FileExtents(const FileDescriptor& fd, bool trusts_holes) noexcept
      : fd_(fd), trusts_holes_(trusts_holes) {}

  /// As `Storage::extent_at`.
  StorageExtent at(std::uint64_t host_offset, std::uint64_t length_bytes) const;

 private:
  struct Run {
    std::uint64_t first = 0;
    std::uint64_t end = 0;
    bool is_hole = false;
    std::uint64_t generation = 0;
  };
  Run find_run(std::uint64_t host_offset) const;
  bool recall(std::uint64_t host_offset, Run& run) const EXCLUDES(mutex_);

  const FileDescriptor& fd_;
  const bool trusts_holes_;
  std::atomic<std::uint64_t> generation_{0};

  mutable Mutex mutex_;
  mutable Run last_ GUARDED_BY(mutex_);
};

}  // namespace qcowkit
