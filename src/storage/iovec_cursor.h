// A place within a list of buffers, moving from its first byte to its last.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>

namespace qcowkit {

inline std::size_t total_bytes(std::span<const iovec> buffers) noexcept {
  std::size_t total = 0;
  for (const iovec& buffer : buffers) total += buffer.iov_len;
  return total;
}

/// Neither owns nor copies the list; both it and the buffers outlive the cursor.
class IovecCursor {
 public:
  explicit IovecCursor(std::span<const iovec> buffers) noexcept
      : rest_(buffers), remaining_(total_bytes(buffers)) {}

  /// Bytes from here to the end of the last buffer.
  std::size_t remaining() const noexcept { return remaining_; }

  /// The next contiguous bytes, at most `limit_bytes` (at least 1), and moves past them. The
  /// caller has seen that something remains.
  std::span<std::byte> take(std::size_t limit_bytes) noexcept {
    while (used_ == rest_.front().iov_len) {
      rest_ = rest_.subspan(1);
      used_ = 0;
    }
    const std::size_t length = std::min(limit_bytes, rest_.front().iov_len - used_);
    std::byte* const start = static_cast<std::byte*>(rest_.front().iov_base) + used_;
    used_ += length;
    remaining_ -= length;
    return {start, length};
  }

  void skip(std::size_t bytes) noexcept {
    while (bytes > 0) bytes -= take(bytes).size();
  }
  /// Moves past `from.size()` bytes, filling them from `from`.
  void copy_in(std::span<const std::byte> from) noexcept {
    while (!from.empty()) {
      const std::span<std::byte> piece = take(from.size());
      std::memcpy(piece.data(), from.data(), piece.size());
      from = from.subspan(piece.size());
    }
  }
  /// Moves past `to.size()` bytes, filling `to` with them.
  void copy_out(std::span<std::byte> to) noexcept {
    while (!to.empty()) {
      const std::span<const std::byte> piece = take(to.size());
      std::memcpy(to.data(), piece.data(), piece.size());
      to = to.subspan(piece.size());
    }
  }
  /// Moves past `bytes` bytes, setting them to zero.
  void fill_zero(std::size_t bytes) noexcept {
    while (bytes > 0) {
      const std::span<std::byte> piece = take(bytes);
      std::memset(piece.data(), 0, piece.size());
      bytes -= piece.size();
    }
  }

  /// Lists the non-empty buffers from here on in `into`, as many as fit, without moving.
  std::span<const iovec> peek(std::span<iovec> into) const noexcept {
    std::size_t count = 0;
    std::size_t used = used_;
    for (const iovec& buffer : rest_) {
      if (count == into.size()) break;
      if (buffer.iov_len > used) {
        into[count++] = {static_cast<std::byte*>(buffer.iov_base) + used, buffer.iov_len - used};
      }
      used = 0;
    }
    return into.first(count);
  }

 private:
  std::span<const iovec> rest_;
  std::size_t used_ = 0;  // of rest_.front()
  std::size_t remaining_;
};

}  // namespace qcowkit
