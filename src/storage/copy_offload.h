// Copies between files that do not pass through user space.
#pragma once

#include <atomic>
#include <cstdint>

namespace qcowkit {

/// A place in an open regular file.
struct FilePlace {
  int fd;
  std::uint64_t host_offset;
};

/// Clones extents where the file systems can, copies inside the kernel where it can, and
/// remembers for one destination file what is impossible from where. Thread-safe.
class CopyOffload {
 public:
  /// Returns how many bytes from the range's start were copied: fewer than asked at the
  /// source's end, or where there is no (further) way. It reports no errors: whoever moves the rest
  /// by reading and writing meets them and knows which side they belong to.
  std::uint64_t copy(FilePlace source, FilePlace destination, std::uint64_t length_bytes) noexcept;
  /// The same by cloning alone, of whole blocks: 0 where either place is at no block's start.
  std::uint64_t clone(FilePlace source, FilePlace destination, std::uint64_t length_bytes) noexcept;

 private:
  struct Task;
  static Task prepare(FilePlace source, FilePlace destination, std::uint64_t length_bytes) noexcept;
  bool may_clone(const Task& task) const noexcept;
  bool copy_bytes(Task& task, std::uint64_t length_bytes) noexcept;
  void clone_blocks(Task& task) noexcept;

  // The last source device from which the operation turned out to be impossible; kNone at first.
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  std::atomic<std::uint64_t> cannot_clone_from_{kNone};
  std::atomic<std::uint64_t> cannot_copy_from_{kNone};
};

}  // namespace qcowkit
