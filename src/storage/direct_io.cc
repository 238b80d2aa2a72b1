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

/// The file's sectors, through memory that is fit for direct I/O. What is done to them is told to
/// `storage`, if it is not null.
class DirectIo::Sectors final : public BlockMedium {
 public:
  Sectors(int fd, std::uint32_t sector_bytes, const Storage* storage) noexcept
      : fd_(fd), sector_bytes_(sector_bytes), storage_(storage) {}

  int read_blocks(std::uint64_t host_offset, std::span<std::byte> into) override {
    const iovec sectors{into.data(), into.size()};
    return read_whole(fd_, host_offset, {&sectors, 1}, sector_bytes_);
  }
  int write_blocks(std::uint64_t host_offset, std::span<std::byte> from,
                   std::size_t /*padding_bytes*/) override {
    const iovec sectors{from.data(), from.size()};
    return write_whole(fd_, host_offset, {&sectors, 1});
  }
  void come_to(Event event, std::uint64_t host_offset, std::uint64_t length_bytes) override {
    if (storage_ != nullptr) storage_->raise(event, host_offset, length_bytes);
  }

 private:
  const int fd_;
  const std::uint32_t sector_bytes_;
  const Storage* const storage_;
};

int DirectIo::read(std::uint64_t host_offset, std::span<const iovec> into) {
  if (is_aligned_request(host_offset, into)) {
    return read_whole(fd_.get(), host_offset, into, alignment_.offset);
  }
  Sectors sectors(fd_.get(), alignment_.offset, nullptr);
  return sectors_.read(sectors, host_offset, into);
}

int DirectIo::write(std::uint64_t host_offset, std::span<const iovec> from,
                    const Storage* storage) {
  const std::uint64_t length = total_bytes(from);
  if (length == 0) return 0;
  const auto end = checked_add(host_offset, length);
  if (!end || *end > std::numeric_limits<off_t>::max() - kMaxSectorBytes) return EFBIG;
  if (!sectors_.are_whole(host_offset, length)) {
    return write_padded(host_offset, from, storage);
  }
  const RangeLock::Guard guard(changes_, host_offset, *end, RangeLock::Mode::shared);
  return is_aligned_request(host_offset, from) ? write_whole(fd_.get(), host_offset, from)
                                               : write_sectors(host_offset, from, storage);
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
      return write_sectors(host_offset, from, storage);
    }
  }
  // The padding grows the file and is cut off again, so nobody may write beyond it meanwhile.
  const RangeLock::Guard guard(changes_, first, RangeLock::kToTheEnd, exclusive);
  const std::uint64_t true_end = std::max(file_size(fd_.get()), end);
  hide_beyond(true_end);
  int error = 0;
  try {
    error = write_sectors(host_offset, from, storage);
  } catch (...) {
    cut_off_beyond(true_end);
    throw;
  }
  const int cut_error = cut_off_beyond(true_end);
  if (error != 0 || cut_error != 0) return error != 0 ? error : cut_error;
  return !is_write_through_ || ::fdatasync(fd_.get()) == 0 ? 0 : errno;
}

/// Completes what is no whole sector. The caller holds the range: exclusively, if there is anything
/// to complete.
int DirectIo::write_sectors(std::uint64_t host_offset, std::span<const iovec> from,
                            const Storage* storage) {
  Sectors sectors(fd_.get(), alignment_.offset, storage);
  return sectors_.write(sectors, host_offset, from);
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
