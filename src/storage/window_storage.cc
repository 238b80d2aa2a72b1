// A part of another storage: the driver "raw" with "offset" and "size".
#include "storage/window_storage.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "base/sector.h"
#include "qcowkit/error.h"
#include "storage/forwarding_storage.h"
#include "storage/iovec_cursor.h"

namespace qcowkit {

namespace {

/// The greatest offset in a file.
constexpr std::uint64_t kOffsetMax = std::numeric_limits<std::int64_t>::max();

class WindowStorage final : public ForwardingStorage {
 public:
  WindowStorage(std::unique_ptr<Storage> child, const WindowOptions& options)
      : ForwardingStorage(std::move(child)),
        offset_(options.offset_bytes),
        fixed_size_(options.size_bytes) {}

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override;
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override {
    ForwardingStorage::writev(in_child(host_offset, total_bytes(from)), from);
  }
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override {
    return ForwardingStorage::write_zeroes(in_child(host_offset, length_bytes), length_bytes,
                                           options);
  }
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override {
    const std::uint64_t present = size();
    if (host_offset >= present) return;
    ForwardingStorage::discard(offset_ + host_offset,
                               std::min(length_bytes, present - host_offset));
  }
  void resize(std::uint64_t new_size_bytes, Preallocation preallocation) override;
  std::uint64_t size() const override {
    if (fixed_size_) return *fixed_size_;
    const std::uint64_t whole = child().size();
    return whole > offset_ ? whole - offset_ : 0;
  }
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override;
  bool can_grow() const noexcept override { return !fixed_size_ && child().can_grow(); }
  StoragePlace place_of(std::uint64_t host_offset) noexcept override {
    return child().place_of(offset_ + host_offset);
  }
  std::uint64_t copy_from(Storage& source, std::uint64_t source_host_offset,
                          std::uint64_t host_offset, std::uint64_t length_bytes) override {
    return child().copy_from(source, source_host_offset, in_child(host_offset, length_bytes),
                             length_bytes);
  }
  std::uint64_t clone_from(Storage& source, std::uint64_t source_host_offset,
                           std::uint64_t host_offset, std::uint64_t length_bytes) override {
    return child().clone_from(source, source_host_offset, in_child(host_offset, length_bytes),
                              length_bytes);
  }
  std::uint32_t alignment() const noexcept override {
    const std::uint32_t alignment = child().alignment();
    // Multiples of it in the window are such in the child only if the window starts at one.
    return is_aligned(offset_, alignment) ? alignment : 1;
  }

 private:
  /// Where a range to be changed lies in the child. Throws `Error` if it reaches out of the window.
  std::uint64_t in_child(std::uint64_t host_offset, std::uint64_t length_bytes) const {
    const std::uint64_t limit = fixed_size_.value_or(kOffsetMax - offset_);
    if (length_bytes <= limit && host_offset <= limit - length_bytes) return offset_ + host_offset;
    throw os_error(fixed_size_ ? ENOSPC : EFBIG,
                   fmt::format("{}: write {} bytes at offset {} of the part that starts at {}",
                               name(), length_bytes, host_offset, offset_));
  }

  // Constant after construction.
  const std::uint64_t offset_;
  const std::optional<std::uint64_t> fixed_size_;
};

void WindowStorage::readv(std::uint64_t host_offset, std::span<const iovec> into) {
  const std::uint64_t wanted = total_bytes(into);
  const std::uint64_t limit = fixed_size_.value_or(kOffsetMax - offset_);
  if (wanted <= limit && host_offset <= limit - wanted) {
    ForwardingStorage::readv(offset_ + host_offset, into);
    return;
  }
  // The child goes on behind the window, whose reader is to find zeroes there.
  IovecCursor cursor(into);
  while (cursor.remaining() > 0) {
    const std::uint64_t inside = host_offset < limit ? limit - host_offset : 0;
    if (inside == 0) {
      cursor.fill_zero(cursor.remaining());
      return;
    }
    const std::span<std::byte> piece = cursor.take(std::min<std::uint64_t>(inside, wanted));
    child().read(offset_ + host_offset, piece);
    host_offset += piece.size();
  }
}

void WindowStorage::resize(std::uint64_t new_size_bytes, Preallocation preallocation) {
  if (fixed_size_) {
    throw Error(std::make_error_code(std::errc::operation_not_supported),
                "Cannot resize fixed-size raw disks");
  }
  if (new_size_bytes > kOffsetMax - offset_) {
    throw os_error(EFBIG, fmt::format("{}: resize to {} bytes", name(), new_size_bytes));
  }
  ForwardingStorage::resize(offset_ + new_size_bytes, preallocation);
}

StorageExtent WindowStorage::extent_at(std::uint64_t host_offset,
                                       std::uint64_t length_bytes) const {
  const std::uint64_t end = fixed_size_.value_or(kOffsetMax - offset_);
  if (host_offset >= end) return {length_bytes, true};
  StorageExtent extent =
      child().extent_at(offset_ + host_offset, std::min(length_bytes, end - host_offset));
  // A hole that reaches the window's end goes on behind it.
  const bool reaches_end = extent.length_bytes == end - host_offset;
  if (extent.is_hole && reaches_end) extent.length_bytes = length_bytes;
  return extent;
}

void require_window_inside(std::uint64_t whole, const WindowOptions& options) {
  if (options.offset_bytes > whole) {
    throw Error(Errc::invalid_argument,
                fmt::format("Offset ({}) cannot be greater than size of the containing file ({})",
                            options.offset_bytes, whole));
  }
  if (!options.size_bytes) return;
  if (*options.size_bytes > whole - options.offset_bytes) {
    throw Error(Errc::invalid_argument,
                fmt::format("The sum of offset ({}) and size ({}) has to be smaller or equal to "
                            "the  actual size of the containing file ({})",
                            options.offset_bytes, *options.size_bytes, whole));
  }
  if (!is_aligned(*options.size_bytes, kSectorBytes)) {
    throw Error(Errc::invalid_argument,
                fmt::format("Specified size is not multiple of {}", kSectorBytes));
  }
}

}  // namespace

std::unique_ptr<Storage> make_window_storage(std::unique_ptr<Storage> child,
                                             const WindowOptions& options) {
  // As the reference counts: a file has whole sectors, the last of which may be filled up.
  require_window_inside(align_up(child->size(), kSectorBytes), options);
  return std::make_unique<WindowStorage>(std::move(child), options);
}

}  // namespace qcowkit
