// A regular file or a block device as a storage: reading, writing, flushing, size.
#include "storage/file_storage.h"

#include <fmt/core.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "qcowkit/error.h"
#include "storage/file_lock.h"
#include "storage/iovec_cursor.h"

namespace qcowkit {

FileStorage::FileStorage(std::string path, const FileOptions& options, Opened opened)
    : name_(std::move(path)),
      options_(options),
      fd_(std::move(opened.fd)),
      kind_(opened.kind),
      device_sector_bytes_(opened.device_sector_bytes),
      is_locked_(opened.is_locked),
      space_(fd_, kind_),
      extents_(fd_, is_locked_) {
  if (opened.direct) direct_.emplace(fd_, *opened.direct, is_device(), is_write_through());
}

FileStorage::~FileStorage() {
  if (is_locked_ && fd_.is_open()) unlock_file(fd_.get());
}

void FileStorage::close() {
  if (!fd_.is_open()) return;
  if (is_locked_) unlock_file(fd_.get());
  if (const int error = fd_.close()) throw os_error(error, fmt::format("{}: close", name_));
}

void FileStorage::fail(int error, const char* operation, std::uint64_t host_offset,
                       std::uint64_t length_bytes) const {
  throw os_error(error, fmt::format("{}: {} {} bytes at offset {}", name_, operation, length_bytes,
                                    host_offset));
}

void FileStorage::require_writable() const {
  if (options_.read_only) {
    throw Error(Errc::read_only, fmt::format("{}: file is open read-only", name_));
  }
}

void FileStorage::readv(std::uint64_t host_offset, std::span<const iovec> into) {
  const int error =
      direct_ ? direct_->read(host_offset, into) : read_whole(fd_.get(), host_offset, into);
  if (error != 0) fail(error, "read", host_offset, total_bytes(into));
}

void FileStorage::writev(std::uint64_t host_offset, std::span<const iovec> from) {
  require_writable();
  if (listener() != nullptr) raise(Event::pwritev, host_offset, total_bytes(from));
  const FileExtents::Change change(extents_);
  const int error = write_range(host_offset, from);
  if (error != 0) fail(error, "write", host_offset, total_bytes(from));
  raise(Event::pwritev_done, host_offset);
}

int FileStorage::write_range(std::uint64_t host_offset, std::span<const iovec> from) {
  return direct_ ? direct_->write(host_offset, from, this)
                 : write_whole(fd_.get(), host_offset, from);
}

void FileStorage::flush() {
  if (options_.read_only || options_.cache == CacheMode::unsafe) return;
  if (kind_ == FileKind::character_device) return;  // there is nothing to be durable
  const int error = group_flush_([this] { return ::fdatasync(fd_.get()) == 0 ? 0 : errno; });
  if (error != 0) throw os_error(error, fmt::format("{}: flush", name_));
}

int FileStorage::sync_if_write_through() {
  // O_DSYNC covers write(2) alone; what allocates, truncates or copies needs this.
  if (!is_write_through() || kind_ == FileKind::character_device) return 0;
  return group_flush_([this] { return ::fdatasync(fd_.get()) == 0 ? 0 : errno; });
}

std::uint64_t FileStorage::size() const {
  if (kind_ == FileKind::character_device) {
    const off_t end = ::lseek(fd_.get(), 0, SEEK_END);
    return end < 0 ? 0 : static_cast<std::uint64_t>(end);
  }
  if (is_device()) {
    std::uint64_t bytes = 0;
    if (::ioctl(fd_.get(), BLKGETSIZE64, &bytes) != 0) {
      throw os_error(errno, fmt::format("{}: size of the device", name_));
    }
    return bytes;
  }
  if (direct_) return direct_->size();
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) throw os_error(errno, fmt::format("{}: size", name_));
  return static_cast<std::uint64_t>(status.st_size);
}

std::uint64_t FileStorage::allocated_bytes() const {
  if (is_device()) return size();
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) throw os_error(errno, fmt::format("{}: size", name_));
  return static_cast<std::uint64_t>(status.st_blocks) * S_BLKSIZE;
}

StorageExtent FileStorage::extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const {
  if (!is_device()) return extents_.at(host_offset, length_bytes);
  const std::uint64_t end = size();
  if (host_offset >= end) return {length_bytes, true};
  return {std::min(length_bytes, end - host_offset), false};
}

std::uint32_t FileStorage::alignment() const noexcept {
  return direct_ ? std::max(direct_->alignment().memory, direct_->alignment().offset) : 1;
}

FileBacked::Run FileStorage::cached_run(std::uint64_t host_offset,
                                        std::uint64_t length_bytes) const noexcept {
  if (direct_ || kind_ == FileKind::character_device || listener() != nullptr) return {};
  return {fd_.get(), cached_bytes(fd_.get(), host_offset, length_bytes)};
}

std::uint64_t FileStorage::copy_from(Storage& source, std::uint64_t source_host_offset,
                                     std::uint64_t host_offset, std::uint64_t length_bytes) {
  return offload(&CopyOffload::copy, source, source_host_offset, host_offset, length_bytes);
}

std::uint64_t FileStorage::clone_from(Storage& source, std::uint64_t source_host_offset,
                                      std::uint64_t host_offset, std::uint64_t length_bytes) {
  return offload(&CopyOffload::clone, source, source_host_offset, host_offset, length_bytes);
}

std::uint64_t FileStorage::offload(Offload how, Storage& source, std::uint64_t source_host_offset,
                                   std::uint64_t host_offset, std::uint64_t length_bytes) {
  require_writable();
  auto* const file = dynamic_cast<FileStorage*>(&source);
  if (file == nullptr || file->is_device() || is_device()) return 0;
  constexpr std::uint64_t kMaxOffset = std::numeric_limits<off_t>::max();
  if (host_offset >= kMaxOffset || source_host_offset >= kMaxOffset) return 0;
  length_bytes =
      std::min({length_bytes, kMaxOffset - host_offset, kMaxOffset - source_host_offset});
  const FilePlace from{file->fd_.get(), source_host_offset};
  const FilePlace to{fd_.get(), host_offset};
  const FileExtents::Change change(extents_);
  std::uint64_t copied = 0;
  if (direct_) {
    // The kernel takes whole sectors only; the rest is for the caller to write.
    const std::uint64_t sector = direct_->alignment().offset;
    if (!is_aligned(host_offset, sector)) return 0;
    length_bytes = align_down(length_bytes, sector);
    const RangeLock::Guard guard(direct_->changes(), host_offset, host_offset + length_bytes,
                                 RangeLock::Mode::shared);
    copied = (copy_offload_.*how)(from, to, length_bytes);
  } else {
    copied = (copy_offload_.*how)(from, to, length_bytes);
  }
  if (copied > 0 && sync_if_write_through() != 0) return 0;
  return copied;
}

}  // namespace qcowkit
