// The open image's disk as requests find it.
#include "cli/io/disk.h"

#include <algorithm>
#include <cerrno>
#include <new>
#include <system_error>
#include <vector>

namespace qcowkit::cli::io {

namespace {

[[noreturn]] void fail(int errno_value) { throw os_error(errno_value, "request"); }

/// A compressed cluster takes no place that is occupied already.
bool has_place(Image& image, std::uint64_t offset, std::uint64_t length_bytes) {
  while (length_bytes != 0) {
    const Extent extent = image.map_layer(offset, length_bytes);
    const bool is_empty = extent.kind == ExtentKind::unallocated ||
                          (extent.kind == ExtentKind::zero && !extent.host_offset);
    if (!is_empty) return false;
    offset += extent.length_bytes;
    length_bytes -= extent.length_bytes;
  }
  return true;
}

int errno_of(const std::error_code& code) {
  if (code.category() != error_category()) return code.value();
  switch (static_cast<Errc>(code.value())) {
    case Errc::invalid_argument:
      return EINVAL;
    case Errc::unsupported:
      return ENOTSUP;
    case Errc::read_only:
      return EACCES;
    case Errc::limit_exceeded:
      return EFBIG;
    case Errc::cancelled:
      return ECANCELED;
    case Errc::in_use:
      return EBUSY;
    case Errc::not_an_image:
    case Errc::corrupt:
    case Errc::reference_refused:
      break;
  }
  return EIO;
}

}  // namespace

void Disk::require_inside(std::uint64_t offset, std::uint64_t length_bytes) const {
  const std::uint64_t size = image_->virtual_size();
  if (length_bytes > size || offset > size - length_bytes) fail(EIO);
}

/// Null where nothing is copied.
std::unique_ptr<RangeLock::Guard> Disk::hold_for_change(std::uint64_t offset,
                                                        std::uint64_t length_bytes) {
  if (!copies_on_read_) return nullptr;
  return std::make_unique<RangeLock::Guard>(busy_, offset, offset + length_bytes,
                                            RangeLock::Mode::shared);
}

void Disk::read(std::uint64_t offset, std::span<std::byte> into) {
  require_inside(offset, into.size());
  if (copies_on_read_ && !into.empty()) copy_what_is_missing(offset, into.size());
  image_->read(offset, into);
}

/// Stores all of the range's clusters that are not in the image's own layer there.
void Disk::copy_what_is_missing(std::uint64_t offset, std::uint64_t length_bytes) {
  constexpr std::uint64_t kPieceBytesMin = 1024 * 1024;
  const std::uint64_t cluster_bytes = image_->cluster_size();
  if (cluster_bytes == 0) return;  // such a format has no backing file
  const std::uint64_t piece_bytes = std::max(kPieceBytesMin, cluster_bytes);
  std::uint64_t at = offset / cluster_bytes * cluster_bytes;
  const std::uint64_t end =
      std::min((offset + length_bytes + cluster_bytes - 1) / cluster_bytes * cluster_bytes,
               image_->virtual_size());
  const RangeLock::Guard hold(busy_, at, end, RangeLock::Mode::exclusive);
  while (at < end) {
    const Extent extent = image_->map_layer(at, std::min(end - at, piece_bytes));
    if (extent.kind == ExtentKind::unallocated) copy(at, extent.length_bytes);
    at += extent.length_bytes;
  }
}

void Disk::copy(std::uint64_t offset, std::uint64_t length_bytes) {
  std::vector<std::byte> content(length_bytes);
  image_->read(offset, content);
  image_->storage().raise(Event::cor_write, offset, length_bytes);
  if (std::ranges::all_of(content, [](std::byte byte) { return byte == std::byte{0}; })) {
    image_->write_zeroes(offset, length_bytes, /*may_unmap=*/true);
  } else {
    image_->write(offset, content);
  }
}

void Disk::write(std::uint64_t offset, std::span<const std::byte> from, bool durable) {
  require_inside(offset, from.size());
  const auto hold = hold_for_change(offset, from.size());
  image_->write(offset, from);
  if (durable) image_->flush();
}

void Disk::write_zeroes(const ZeroRequest& request) {
  require_inside(request.offset, request.length_bytes);
  const auto hold = hold_for_change(request.offset, request.length_bytes);
  if (request.no_fallback) {
    if (!image_->try_write_zeroes(request.offset, request.length_bytes, request.may_unmap)) {
      fail(ENOTSUP);
    }
  } else {
    image_->write_zeroes(request.offset, request.length_bytes, request.may_unmap);
  }
  if (request.durable) image_->flush();
}

void Disk::write_compressed(std::uint64_t offset, std::span<const std::byte> from) {
  require_inside(offset, from.size());
  const std::uint64_t cluster_bytes = image_->cluster_size();
  if (cluster_bytes == 0) fail(ENOTSUP);
  if (from.empty()) return;
  const bool ends_whole =
      from.size() % cluster_bytes == 0 || offset + from.size() == image_->virtual_size();
  if (offset % cluster_bytes != 0 || !ends_whole) fail(EINVAL);
  // The older format takes no more than one at a time.
  if (image_->format() == "qcow" && from.size() > cluster_bytes) fail(EINVAL);

  const auto hold = hold_for_change(offset, from.size());
  bool all_had_place = true;
  while (!from.empty()) {
    const auto cluster = from.first(std::min<std::uint64_t>(from.size(), cluster_bytes));
    if (has_place(*image_, offset, cluster.size())) {
      image_->write_compressed(offset, image_->compress(cluster), cluster);
    } else {
      all_had_place = false;  // the others are written nevertheless
    }
    offset += cluster.size();
    from = from.subspan(cluster.size());
  }
  if (!all_had_place) fail(EIO);
}

void Disk::discard(std::uint64_t offset, std::uint64_t length_bytes) {
  require_inside(offset, length_bytes);
  const auto hold = hold_for_change(offset, length_bytes);
  image_->discard(offset, length_bytes);
}

std::string error_name(const std::exception& error) {
  if (const auto* with_code = dynamic_cast<const std::system_error*>(&error)) {
    return std::generic_category().message(errno_of(with_code->code()));
  }
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    return std::generic_category().message(ENOMEM);
  }
  return error.what();
}

}  // namespace qcowkit::cli::io
