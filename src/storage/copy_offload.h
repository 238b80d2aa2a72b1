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

 private:
  // The last source device from which the operation turned out to be impossible; kNone at first.
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  std::atomic<std::uint64_t> cannot_clone_from_{kNone};
  std::atomic<std::uint64_t> cannot_copy_from_{kNone};
};

}  // namespace qcowkit
