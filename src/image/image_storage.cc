// An image's guest bytes as host bytes: filters above formats, and formats in formats.
#include "image/image_storage.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/checked.h"
#include "qcowkit/error.h"

namespace qcowkit {

namespace {

std::span<std::byte> bytes_of(const iovec& buffer) {
  return {static_cast<std::byte*>(buffer.iov_base), buffer.iov_len};
}

}  // namespace

ImageStorage::ImageStorage(std::unique_ptr<Image> image) : image_(std::move(image)) {
  Storage::set_listener(image_->storage().listener());
}

void ImageStorage::readv(std::uint64_t host_offset, std::span<const iovec> into) {
  const std::uint64_t end = size();
  for (const iovec& buffer : into) {
    const std::span<std::byte> bytes = bytes_of(buffer);
    const std::uint64_t inside =
        std::min<std::uint64_t>(bytes.size(), end - std::min(host_offset, end));
    if (inside > 0) read_guest(host_offset, bytes.first(inside));
    std::ranges::fill(bytes.subspan(inside), std::byte{0});
    host_offset += bytes.size();
  }
}

void ImageStorage::writev(std::uint64_t host_offset, std::span<const iovec> from) {
  std::uint64_t length = 0;
  for (const iovec& buffer : from) length += buffer.iov_len;
  if (length == 0) return;
  const auto end = checked_add(host_offset, length);
  if (!end) throw os_error(EFBIG, fmt::format("{}: write at offset {}", name(), host_offset));
  grow_to(*end);
  for (const iovec& buffer : from) {
    if (buffer.iov_len > 0) write_guest(host_offset, bytes_of(buffer));
    host_offset += buffer.iov_len;
  }
}

bool ImageStorage::write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                                ZeroOptions options) {
  const auto end = checked_add(host_offset, length_bytes);
  if (!end) throw os_error(EFBIG, fmt::format("{}: zeroes at offset {}", name(), host_offset));
  if (length_bytes == 0) return true;
  const std::uint64_t old_end = size();
  if (host_offset < old_end) {
    const std::uint64_t inside = std::min(length_bytes, old_end - host_offset);
    if (!options.no_fallback) {
      image_->write_zeroes(host_offset, inside, options.may_unmap);
    } else if (!image_->try_write_zeroes(host_offset, inside, options.may_unmap)) {
      return false;
    }
  }
  grow_to(*end);  // what is new is zero
  return true;
}

void ImageStorage::discard(std::uint64_t host_offset, std::uint64_t length_bytes) {
  const std::uint64_t end = size();
  if (host_offset < end) image_->discard(host_offset, std::min(length_bytes, end - host_offset));
}

void ImageStorage::resize(std::uint64_t new_size_bytes, Preallocation preallocation) {
  // A storage has no metadata to preallocate.
  if (preallocation == Preallocation::metadata) preallocation = Preallocation::off;
  image_->resize(new_size_bytes, {.preallocation = preallocation, .may_shrink = true});
}

void ImageStorage::grow_to(std::uint64_t end) {
  if (end <= size()) return;
  const MutexLock held(growth_mutex_);
  if (end > size()) image_->resize(end);
}

std::uint64_t ImageStorage::allocated_bytes() const {
  std::uint64_t bytes = image_->storage().allocated_bytes();
  if (&image_->data_storage() != &image_->storage()) {
    bytes += image_->data_storage().allocated_bytes();
  }
  return bytes;
}

StorageExtent ImageStorage::extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const {
  const std::uint64_t end = size();
  if (host_offset >= end) return {length_bytes, true};
  const Extent extent = image_->map(host_offset, std::min(length_bytes, end - host_offset));
  const bool is_hole = extent.kind == ExtentKind::zero || extent.kind == ExtentKind::unallocated;
  return {extent.length_bytes, is_hole};
}

bool ImageStorage::can_grow() const noexcept {
  // QCOW version 1 has no way to resize a disk.
  return image_->format() != "qcow" && image_->data_storage().can_grow();
}

std::unique_ptr<Storage> make_image_storage(std::unique_ptr<Image> image) {
  return std::make_unique<ImageStorage>(std::move(image));
}

}  // namespace qcowkit
