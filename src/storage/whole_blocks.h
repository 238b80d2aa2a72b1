// Requests of any range where only whole blocks can be moved.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "qcowkit/events.h"

namespace qcowkit {

/// What moves whole blocks only. Each call returns 0 or an errno; it may throw instead.
class BlockMedium {
 public:
  virtual int read_blocks(std::uint64_t host_offset, std::span<std::byte> into) = 0;
  /// The last `padding_bytes` of `from` are what the medium has there already, or zeroes past its
  /// end: nobody asked for them.
  virtual int write_blocks(std::uint64_t host_offset, std::span<std::byte> from,
                           std::size_t padding_bytes) = 0;
  /// The work has come to reading a block to complete a write (pwritev_rmw_*).
  virtual void come_to(Event event, std::uint64_t host_offset, std::uint64_t length_bytes) = 0;

 protected:
  ~BlockMedium() = default;
};

/// Makes requests whole blocks: they pass through a buffer, and the blocks that a write covers only
/// in part are completed by what the medium has. Holds no state of its own: whoever writes keeps
/// others from changing the blocks meanwhile.
class WholeBlocks {
 public:
  static constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

  /// `block_bytes`: a power of two. Larger requests than `buffer_bytes_max`, a multiple of it, are
  /// made in several steps.
  explicit WholeBlocks(std::uint64_t block_bytes,
                       std::uint64_t buffer_bytes_max = kNoLimit) noexcept
      : block_bytes_(block_bytes), buffer_bytes_max_(buffer_bytes_max) {}

  std::uint64_t block_bytes() const noexcept { return block_bytes_; }
  bool are_whole(std::uint64_t host_offset, std::uint64_t length_bytes) const noexcept {
    return ((host_offset | length_bytes) & (block_bytes_ - 1)) == 0;
  }

  /// Both return 0 or an errno, and throw std::bad_alloc and what the medium throws. Nothing is
  /// overflown: the range, completed to whole blocks, ends below 2^64.
  int read(BlockMedium& medium, std::uint64_t host_offset, std::span<const iovec> into) const;
  int write(BlockMedium& medium, std::uint64_t host_offset, std::span<const iovec> from) const;

 private:
  struct Step;
  int complete(BlockMedium& medium, const Step& step, std::span<std::byte> blocks) const;

  std::uint64_t block_bytes_;
  std::uint64_t buffer_bytes_max_;
};

}  // namespace qcowkit
