// Host bytes in memory.
#include "storage/memory_storage.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "base/checked.h"
#include "qcowkit/error.h"
#include "storage/iovec_cursor.h"

namespace qcowkit {

namespace {

/// The end of a range to be changed; as a file would, memory ends at the greatest off_t.
std::uint64_t checked_end(const std::string& name, std::uint64_t host_offset,
                          std::uint64_t length_bytes) {
  const auto end = checked_add(host_offset, length_bytes);
  if (!end || *end > std::numeric_limits<off_t>::max()) {
    throw os_error(EFBIG,
                   fmt::format("{}: write {} bytes at offset {}", name, length_bytes, host_offset));
  }
  return *end;
}

}  // namespace

MemoryStorage::MemoryStorage(std::string name) : name_(std::move(name)) {}

std::unique_ptr<MemoryStorage> MemoryStorage::clone() const {
  auto copy = std::make_unique<MemoryStorage>(name_);
  const SharedLock held(mutex_);
  const ExclusiveLock held_copy(copy->mutex_);
  for (const auto& [index, chunk] : chunks_) {
    copy->chunks_.emplace_hint(copy->chunks_.end(), index, std::make_unique<Chunk>(*chunk));
  }
  copy->size_ = size_;
  return copy;
}

void MemoryStorage::readv(std::uint64_t host_offset, std::span<const iovec> into) {
  IovecCursor cursor(into);
  const SharedLock held(mutex_);
  auto next = chunks_.lower_bound(host_offset / kChunkBytes);
  while (cursor.remaining() > 0) {
    const std::uint64_t index = host_offset / kChunkBytes;
    if (next != chunks_.end() && next->first < index) ++next;
    const bool is_present = next != chunks_.end() && next->first == index;
    const std::uint64_t within = host_offset % kChunkBytes;
    const std::uint64_t length = std::min<std::uint64_t>(cursor.remaining(), kChunkBytes - within);
    if (is_present) {
      cursor.copy_in(std::span<const std::byte>(next->second->bytes).subspan(within, length));
    } else {
      cursor.fill_zero(length);
    }
    host_offset += length;
  }
}

void MemoryStorage::writev(std::uint64_t host_offset, std::span<const iovec> from) {
  IovecCursor cursor(from);
  if (cursor.remaining() == 0) return;
  const std::uint64_t end = checked_end(name_, host_offset, cursor.remaining());
  const ExclusiveLock held(mutex_);
  while (cursor.remaining() > 0) {
    std::unique_ptr<Chunk>& chunk = chunks_[host_offset / kChunkBytes];
    if (chunk == nullptr) chunk = std::make_unique<Chunk>();
    const std::uint64_t within = host_offset % kChunkBytes;
    const std::uint64_t length = std::min<std::uint64_t>(cursor.remaining(), kChunkBytes - within);
    cursor.copy_out(std::span<std::byte>(chunk->bytes).subspan(within, length));
    for (std::uint64_t page = within / kPageBytes; page * kPageBytes < within + length; ++page) {
      chunk->is_present.set(page);
    }
    host_offset += length;
  }
  size_ = std::max(size_, end);
}

bool MemoryStorage::write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                                 ZeroOptions options) {
  if (length_bytes == 0) return true;
  const std::uint64_t end = checked_end(name_, host_offset, length_bytes);
  const ExclusiveLock held(mutex_);
  clear(host_offset, end, options.may_unmap);
  size_ = std::max(size_, end);
  return true;
}

void MemoryStorage::discard(std::uint64_t host_offset, std::uint64_t length_bytes) {
  const ExclusiveLock held(mutex_);
  if (host_offset >= size_) return;
  clear(host_offset, host_offset + std::min(length_bytes, size_ - host_offset), true);
}

void MemoryStorage::resize(std::uint64_t new_size_bytes, Preallocation /*preallocation*/) {
  const std::uint64_t new_size = checked_end(name_, new_size_bytes, 0);
  const ExclusiveLock held(mutex_);
  if (new_size < size_) clear(new_size, align_up(size_, kPageBytes), true);
  size_ = new_size;
}

/// Zeroes what is present of the range.
void MemoryStorage::clear(std::uint64_t first, std::uint64_t end, bool may_unmap) {
  auto next = chunks_.lower_bound(first / kChunkBytes);
  while (next != chunks_.end() && next->first * kChunkBytes < end) {
    const std::uint64_t start = next->first * kChunkBytes;
    clear_in_chunk(*next->second, std::max(first, start) - start,
                   std::min(end, start + kChunkBytes) - start, may_unmap);
    next = next->second->is_present.none() ? chunks_.erase(next) : std::next(next);
  }
}

/// `first` and `end` count from the chunk's start.
void MemoryStorage::clear_in_chunk(Chunk& chunk, std::uint64_t first, std::uint64_t end,
                                   bool may_unmap) {
  std::memset(chunk.bytes.data() + first, 0, end - first);
  if (!may_unmap) return;
  for (std::uint64_t page = divide_round_up(first, kPageBytes); (page + 1) * kPageBytes <= end;
       ++page) {
    chunk.is_present.reset(page);
  }
}

std::uint64_t MemoryStorage::size() const {
  const SharedLock held(mutex_);
  return size_;
}

std::uint64_t MemoryStorage::allocated_bytes() const {
  const SharedLock held(mutex_);
  std::uint64_t pages = 0;
  for (const auto& [index, chunk] : chunks_) pages += chunk->is_present.count();
  return pages * kPageBytes;
}

StorageExtent MemoryStorage::extent_at(std::uint64_t host_offset,
                                       std::uint64_t length_bytes) const {
  const SharedLock held(mutex_);
  if (host_offset >= size_) return {length_bytes, true};
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t wanted_end = host_offset + std::min(length_bytes, kMax - host_offset);

  // Goes on page by page as long as the answer is the same; what lies between chunks is a hole.
  std::uint64_t offset = host_offset;
  std::optional<bool> is_hole;
  for (auto chunk = chunks_.lower_bound(offset / kChunkBytes); offset < wanted_end;) {
    const std::uint64_t start =
        chunk == chunks_.end() ? wanted_end : std::min(chunk->first * kChunkBytes, wanted_end);
    const bool between = offset < start;
    const std::uint64_t page = offset % kChunkBytes / kPageBytes;
    const bool hole_here = between || !chunk->second->is_present.test(page);
    if (is_hole.value_or(hole_here) != hole_here) break;
    is_hole = hole_here;
    offset = between ? start : align_down(offset, kPageBytes) + kPageBytes;
    if (!between && offset % kChunkBytes == 0) ++chunk;
  }
  // A hole goes on past the end of the storage, but data ends there, if within a page.
  const std::uint64_t end = std::min(offset, *is_hole ? wanted_end : std::min(wanted_end, size_));
  return {end - host_offset, *is_hole};
}

std::unique_ptr<Storage> make_memory_storage(std::string name) {
  return std::make_unique<MemoryStorage>(std::move(name));
}

}  // namespace qcowkit
