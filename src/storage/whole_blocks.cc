// Requests of any range where only whole blocks can be moved.
#include "storage/whole_blocks.h"

#include <algorithm>

#include "base/buffer.h"
#include "base/checked.h"
#include "storage/iovec_cursor.h"

namespace qcowkit {

/// As much of a request as the buffer holds, and the blocks that it touches.
///
///     first         host offset of the request's bytes        first + blocks_bytes
///     |--head_bytes--|-------------wanted_bytes--------------|--padding_bytes--|
struct WholeBlocks::Step {
  Step(std::uint64_t host_offset, std::uint64_t left_bytes, std::uint64_t block_bytes,
       std::uint64_t buffer_bytes) noexcept
      : first(align_down(host_offset, block_bytes)),
        head_bytes(host_offset - first),
        wanted_bytes(std::min(left_bytes, buffer_bytes - head_bytes)),
        blocks_bytes(align_up(head_bytes + wanted_bytes, block_bytes)),
        padding_bytes(blocks_bytes - head_bytes - wanted_bytes) {}

  std::uint64_t first;
  std::uint64_t head_bytes;
  std::uint64_t wanted_bytes;
  std::uint64_t blocks_bytes;
  std::uint64_t padding_bytes;
};

int WholeBlocks::read(BlockMedium& medium, std::uint64_t host_offset,
                      std::span<const iovec> into) const {
  IovecCursor cursor(into);
  const Step all(host_offset, cursor.remaining(), block_bytes_, kNoLimit);
  Buffer buffer(std::min(all.blocks_bytes, buffer_bytes_max_));
  while (cursor.remaining() > 0) {
    const Step step(host_offset, cursor.remaining(), block_bytes_, buffer.size());
    const std::span<std::byte> blocks = buffer.span().first(step.blocks_bytes);
    if (const int error = medium.read_blocks(step.first, blocks)) return error;
    cursor.copy_in(blocks.subspan(step.head_bytes, step.wanted_bytes));
    host_offset += step.wanted_bytes;
  }
  return 0;
}

int WholeBlocks::write(BlockMedium& medium, std::uint64_t host_offset,
                       std::span<const iovec> from) const {
  IovecCursor cursor(from);
  const Step all(host_offset, cursor.remaining(), block_bytes_, kNoLimit);
  Buffer buffer(std::min(all.blocks_bytes, buffer_bytes_max_));
  while (cursor.remaining() > 0) {
    const Step step(host_offset, cursor.remaining(), block_bytes_, buffer.size());
    const std::span<std::byte> blocks = buffer.span().first(step.blocks_bytes);
    if (const int error = complete(medium, step, blocks)) return error;
    cursor.copy_out(blocks.subspan(step.head_bytes, step.wanted_bytes));
    if (const int error = medium.write_blocks(step.first, blocks, step.padding_bytes)) return error;
    host_offset += step.wanted_bytes;
  }
  return 0;
}

/// Reads the first and the last block, where the request does not cover them.
int WholeBlocks::complete(BlockMedium& medium, const Step& step,
                          std::span<std::byte> blocks) const {
  const auto read_block = [&](std::uint64_t at, Event before, Event after) {
    medium.come_to(before, step.first + at, block_bytes_);
    const int error = medium.read_blocks(step.first + at, blocks.subspan(at, block_bytes_));
    if (error == 0) medium.come_to(after, step.first + at, block_bytes_);
    return error;
  };
  if (step.head_bytes != 0) {
    if (const int error = read_block(0, Event::pwritev_rmw_head, Event::pwritev_rmw_after_head)) {
      return error;
    }
  }
  const bool has_last_block = step.head_bytes != 0 && blocks.size() == block_bytes_;
  if (step.padding_bytes == 0 || has_last_block) return 0;
  return read_block(blocks.size() - block_bytes_, Event::pwritev_rmw_tail,
                    Event::pwritev_rmw_after_tail);
}

}  // namespace qcowkit
