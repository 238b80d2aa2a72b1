// Reads and writes of any alignment on a file that is open with O_DIRECT.
#include "storage/direct_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/buffer.h"
#include "base/checked.h"
#include "storage/iovec_cursor.h"

namespace qcowkit {

namespace {

constexpr std::uint32_t kMaxSectorBytes = Buffer::kAlignment;
constexpr std::uint64_t kBounceBytes = 1 << 20;

std::uint64_t file_size(int fd) noexcept {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

/// The kernel's own answer; false if it gives none.
bool ask_kernel(int fd, DirectAlignment& alignment) noexcept {
#ifdef STATX_DIOALIGN
  struct statx status {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
      (status.stx_mask & STATX_DIOALIGN) != 0) {
    alignment = {status.stx_dio_mem_align, status.stx_dio_offset_align};
    return true;
  }
#endif
  static_cast<void>(fd);
  static_cast<void>(alignment);
  return false;
}

/// True if one direct read of that length, into memory aligned to no more than that, succeeds.
bool reads_in_units_of(int fd, std::uint32_t unit_bytes) noexcept {
  alignas(kMaxSectorBytes) std::byte memory[2 * kMaxSectorBytes];
  std::byte* const barely_aligned = memory + unit_bytes % kMaxSectorBytes;
  return ::pread(fd, barely_aligned, unit_bytes, 0) >= 0;
}

}  // namespace

DirectAlignment find_direct_alignment(int fd, std::uint32_t device_sector_bytes) noexcept {
  if (device_sector_bytes != 0) return {device_sector_bytes, device_sector_bytes};
  DirectAlignment alignment;
  if (ask_kernel(fd, alignment)) {
    const bool usable = alignment.memory <= kMaxSectorBytes && alignment.offset <= kMaxSectorBytes;
    return usable ? alignment : DirectAlignment{};
  }
  // A read from an empty file succeeds at any alignment and proves nothing.
  if (file_size(fd) > 0 && reads_in_units_of(fd, 512)) return {512, 512};
  return {kMaxSectorBytes, kMaxSectorBytes};
}

bool DirectIo::is_aligned_request(std::uint64_t host_offset,
                                  std::span<const iovec> buffers) const noexcept {
  if (!is_aligned(host_offset, alignment_.offset)) return false;
  return std::all_of(buffers.begin(), buffers.end(), [this](const iovec& buffer) {
    return is_aligned(reinterpret_cast<std::uintptr_t>(buffer.iov_base), alignment_.memory) &&
           is_aligned(buffer.iov_len, alignment_.offset);
  });
}

int DirectIo::read(std::uint64_t host_offset, std::span<const iovec> into) {
  if (is_aligned_request(host_offset, into)) {
    return read_whole(fd_.get(), host_offset, into, alignment_.offset);
  }
  return read_by_bounce(host_offset, into);
}

int DirectIo::read_by_bounce(std::uint64_t host_offset, std::span<const iovec> into) {
  IovecCursor cursor(into);
  const std::uint64_t sector = alignment_.offset;
  const std::uint64_t skipped = host_offset & (sector - 1);
  Buffer bounce(std::min(align_up(skipped + cursor.remaining(), sector), kBounceBytes));
  while (cursor.remaining() > 0) {
    const std::uint64_t first = align_down(host_offset, sector);
    const std::uint64_t head = host_offset - first;
    const std::uint64_t wanted = std::min(cursor.remaining(), bounce.size() - head);
    const iovec aligned{bounce.data(), align_up(head + wanted, sector)};
    if (const int error = read_whole(fd_.get(), first, {&aligned, 1}, alignment_.offset))
      return error;
    cursor.copy_in(bounce.span().subspan(head, wanted));
    host_offset += wanted;
  }
  return 0;
}

int DirectIo::write(std::uint64_t host_offset, std::span<const iovec> from,
                    const Storage* storage) {
  const std::uint64_t length = total_bytes(from);
  if (length == 0) return 0;
  const auto end = checked_add(host_offset, length);
  if (!end || *end > std::numeric_limits<off_t>::max() - kMaxSectorBytes) return EFBIG;
  if (!is_aligned(host_offset, alignment_.offset) || !is_aligned(length, alignment_.offset)) {
    return write_padded(host_offset, from, storage);
  }
  const RangeLock::Guard guard(changes_, host_offset, *end, RangeLock::Mode::shared);
  return is_aligned_request(host_offset, from) ? write_whole(fd_.get(), host_offset, from)
                                               : write_by_bounce(host_offset, from, storage);
}

int DirectIo::write_padded(std::uint64_t host_offset, std::span<const iovec> from,
                           const Storage* storage) {
  const std::uint64_t end = host_offset + total_bytes(from);
  const std::uint64_t first = align_down(host_offset, alignment_.offset);
  const std::uint64_t padded_end = align_up(end, alignment_.offset);
  const auto exclusive = RangeLock::Mode::exclusive;
  if (is_device_ || padded_end <= file_size(fd_.get())) {
    const RangeLock::Guard guard(changes_, first, padded_end, exclusive);
    if (is_device_ || padded_end <= file_size(fd_.get())) {
      return write_by_bounce(host_offset, from, storage);
    }
  }
  // The padding grows the file and is cut off again, so nobody may write beyond it meanwhile.
  const RangeLock::Guard guard(changes_, first, RangeLock::kToTheEnd, exclusive);
  const std::uint64_t true_end = std::max(file_size(fd_.get()), end);
  hide_beyond(true_end);
  int error = 0;
  try {
    error = write_by_bounce(host_offset, from, storage);
  } catch (...) {
    cut_off_beyond(true_end);
    throw;
  }
  const int cut_error = cut_off_beyond(true_end);
  if (error != 0 || cut_error != 0) return error != 0 ? error : cut_error;
  return !is_write_through_ || ::fdatasync(fd_.get()) == 0 ? 0 : errno;
}

/// Writes whole sectors, those at the edges completed from the file. The caller holds the range:
/// exclusively, if there is anything to complete.
int DirectIo::write_by_bounce(std::uint64_t host_offset, std::span<const iovec> from,
                              const Storage* storage) {
  IovecCursor cursor(from);
  const std::uint64_t sector = alignment_.offset;
  const auto complete = [&](std::uint64_t at, std::byte* into, Event before, Event after) {
    if (storage != nullptr) storage->raise(before, at, sector);
    const int error = read_sector(at, into);
    if (storage != nullptr && error == 0) storage->raise(after, at, sector);
    return error;
  };
  const std::uint64_t padded_bytes =
      align_up((host_offset & (sector - 1)) + cursor.remaining(), sector);
  Buffer bounce(std::min(padded_bytes, kBounceBytes));
  while (cursor.remaining() > 0) {
    const std::uint64_t first = align_down(host_offset, sector);
    const std::uint64_t head = host_offset - first;
    const std::uint64_t wanted = std::min(cursor.remaining(), bounce.size() - head);
    const std::uint64_t padded = align_up(head + wanted, sector);
    const bool cuts_last_sector = padded != head + wanted;
    if (head != 0) {
      if (const int error = complete(first, bounce.data(), Event::pwritev_rmw_head,
                                     Event::pwritev_rmw_after_head)) {
        return error;
      }
    }
    if (cuts_last_sector && (head == 0 || padded > sector)) {
      std::byte* const last = bounce.data() + (padded - sector);
      if (const int error = complete(first + padded - sector, last, Event::pwritev_rmw_tail,
                                     Event::pwritev_rmw_after_tail)) {
        return error;
      }
    }
    cursor.copy_out(bounce.span().subspan(head, wanted));
    const iovec aligned{bounce.data(), padded};
    if (const int error = write_whole(fd_.get(), first, {&aligned, 1})) return error;
    host_offset += wanted;
  }
  return 0;
}

int DirectIo::read_sector(std::uint64_t host_offset, std::byte* into) noexcept {
  const iovec sector{into, alignment_.offset};
  return read_whole(fd_.get(), host_offset, {&sector, 1}, alignment_.offset);
}

std::uint64_t DirectIo::size() const {
  const MutexLock held(size_mutex_);
  return std::min(file_size(fd_.get()), visible_end_);
}

void DirectIo::hide_beyond(std::uint64_t end) {
  const MutexLock held(size_mutex_);
  visible_end_ = end;
}

int DirectIo::cut_off_beyond(std::uint64_t end) {
  const MutexLock held(size_mutex_);
  visible_end_ = kNothingHidden;
  if (file_size(fd_.get()) <= end) return 0;
  return ::ftruncate(fd_.get(), static_cast<off_t>(end)) == 0 ? 0 : errno;
}

}  // namespace qcowkit
