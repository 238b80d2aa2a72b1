// Whole transfers between lists of buffers and a file descriptor, and the descriptor's owner.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

namespace qcowkit {

/// Owns a file descriptor.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) noexcept : fd_(fd) {}
  ~FileDescriptor() { close(); }
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&&) = delete;

  int get() const noexcept { return fd_; }
  bool is_open() const noexcept { return fd_ >= 0; }
  /// Returns 0 or the errno of close(2). Idempotent.
  int close() noexcept;

 private:
  int fd_;
};

/// Fills the buffers from `host_offset` on; what lies past the end of the file becomes zeroes.
/// Interrupted and short transfers are continued. `transfer_unit_bytes` is the unit in which the
/// file is read (its sector under O_DIRECT, otherwise 1): a transfer that ends inside a unit has
/// met the end of the file. Returns 0 or an errno.
int read_whole(int fd, std::uint64_t host_offset, std::span<const iovec> into,
               std::uint32_t transfer_unit_bytes = 1) noexcept;

/// Writes the buffers from `host_offset` on. Interrupted and short transfers are continued.
/// Returns 0 or an errno.
int write_whole(int fd, std::uint64_t host_offset, std::span<const iovec> from) noexcept;

/// How many bytes from the range's start can be read without being fetched first, as far as a look
/// here and there shows; 0 where that cannot be known.
std::uint64_t cached_bytes(int fd, std::uint64_t host_offset, std::uint64_t length_bytes) noexcept;

}  // namespace qcowkit
