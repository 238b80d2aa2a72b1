// A storage that takes requests of any range and makes them whole blocks.
#include "storage/block_aligned_storage.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include "base/buffer.h"
#include "base/checked.h"
#include "qcowkit/error.h"
#include "storage/iovec_cursor.h"

namespace qcowkit {

BlockAlignedStorage::BlockAlignedStorage(std::unique_ptr<Storage> child, std::uint64_t block_bytes,
                                         std::uint64_t zero_block_bytes)
    : ForwardingStorage(std::move(child)),
      blocks_(block_bytes),
      zero_block_bytes_(zero_block_bytes) {}

std::uint32_t BlockAlignedStorage::alignment() const noexcept {
  return std::max(child().alignment(), static_cast<std::uint32_t>(blocks_.block_bytes()));
}

// --- Whole blocks ------------------------------------------------------------------------------

void BlockAlignedStorage::read_whole(std::uint64_t host_offset, std::span<const iovec> into) {
  child().readv(host_offset, into);
}

void BlockAlignedStorage::write_whole(std::uint64_t host_offset, std::span<const iovec> from) {
  child().writev(host_offset, from);
}

bool BlockAlignedStorage::zero_whole(std::uint64_t host_offset, std::uint64_t length_bytes,
                                     ZeroOptions options) {
  return child().write_zeroes(host_offset, length_bytes, options);
}

void BlockAlignedStorage::come_to(Event event, std::uint64_t host_offset,
                                  std::uint64_t length_bytes) {
  raise(event, host_offset, length_bytes);
}

int BlockAlignedStorage::read_blocks(std::uint64_t host_offset, std::span<std::byte> into) {
  const iovec blocks{into.data(), into.size()};
  read_whole(host_offset, {&blocks, 1});
  return 0;
}

int BlockAlignedStorage::write_blocks(std::uint64_t host_offset, std::span<std::byte> from,
                                      std::size_t padding_bytes) {
  // Padding does not make the storage grow.
  const std::uint64_t padded_end = host_offset + from.size();
  const std::uint64_t end = std::clamp(child().size(), padded_end - padding_bytes, padded_end);
  const iovec blocks{from.data(), end - host_offset};
  write_whole(host_offset, {&blocks, 1});
  return 0;
}

// --- Requests ----------------------------------------------------------------------------------

void BlockAlignedStorage::readv(std::uint64_t host_offset, std::span<const iovec> into) {
  if (blocks_.are_whole(host_offset, total_bytes(into))) return read_whole(host_offset, into);
  blocks_.read(*this, host_offset, into);
}

/// What is completed to whole blocks must not end behind the last byte that anything can have.
void BlockAlignedStorage::require_addressable(std::uint64_t host_offset,
                                              std::uint64_t length_bytes) const {
  constexpr std::uint64_t kEndMax = std::numeric_limits<off_t>::max();
  const auto end = checked_add(host_offset, length_bytes);
  if (end && *end <= kEndMax - blocks_.block_bytes()) return;
  throw os_error(EFBIG, fmt::format("{}: write at offset {}", name(), host_offset));
}

void BlockAlignedStorage::writev(std::uint64_t host_offset, std::span<const iovec> from) {
  const std::uint64_t length = total_bytes(from);
  require_addressable(host_offset, length);
  const std::uint64_t block_bytes = blocks_.block_bytes();
  if (blocks_.are_whole(host_offset, length)) {
    const RangeLock::Guard guard(changes_, host_offset, host_offset + length,
                                 RangeLock::Mode::shared);
    return write_whole(host_offset, from);
  }
  const RangeLock::Guard guard(changes_, align_down(host_offset, block_bytes),
                               align_up(host_offset + length, block_bytes),
                               RangeLock::Mode::exclusive);
  blocks_.write(*this, host_offset, from);
}

void BlockAlignedStorage::write_zero_bytes(std::uint64_t host_offset, std::uint64_t length_bytes) {
  if (length_bytes == 0) return;
  Buffer zeroes(length_bytes);
  std::ranges::fill(zeroes.span(), std::byte{0});
  write(host_offset, zeroes.span());
}

bool BlockAlignedStorage::write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                                       ZeroOptions options) {
  if (length_bytes == 0) return ForwardingStorage::write_zeroes(host_offset, 0, options);
  require_addressable(host_offset, length_bytes);
  if (options.no_fallback && !are_whole_zero_blocks(host_offset, length_bytes)) return false;
  const std::uint64_t end = host_offset + length_bytes;
  const std::uint64_t first_block =
      std::min(divide_round_up(host_offset, zero_block_bytes_) * zero_block_bytes_, end);
  const std::uint64_t blocks_end =
      std::max(end / zero_block_bytes_ * zero_block_bytes_, first_block);
  write_zero_bytes(host_offset, first_block - host_offset);
  if (first_block < blocks_end) {
    const RangeLock::Guard guard(changes_, first_block, blocks_end, RangeLock::Mode::shared);
    if (!zero_whole(first_block, blocks_end - first_block, options)) return false;
  }
  write_zero_bytes(blocks_end, end - blocks_end);
  return true;
}

void BlockAlignedStorage::discard(std::uint64_t host_offset, std::uint64_t length_bytes) {
  if (length_bytes == 0) return;
  const std::uint64_t end = checked_add(host_offset, length_bytes).value_or(RangeLock::kToTheEnd);
  const RangeLock::Guard guard(changes_, host_offset, end, RangeLock::Mode::shared);
  ForwardingStorage::discard(host_offset, length_bytes);
}

std::unique_ptr<Storage> make_block_aligned_storage(std::unique_ptr<Storage> child,
                                                    std::uint32_t block_bytes) {
  return std::make_unique<BlockAlignedStorage>(std::move(child), block_bytes, block_bytes);
}

}  // namespace qcowkit
