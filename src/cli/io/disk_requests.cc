// The requests of the I/O program, which fail in the reference's ways.
#include "cli/io/disk_requests.h"

#include <algorithm>
#include <cerrno>
#include <new>
#include <system_error>

namespace qcowkit::cli::io {

namespace {

[[noreturn]] void fail(int errno_value) { throw os_error(errno_value, "request"); }

void require_inside(const Image& image, std::uint64_t offset, std::uint64_t length_bytes) {
  const std::uint64_t size = image.virtual_size();
  if (length_bytes > size || offset > size - length_bytes) fail(EIO);
}

/// A compressed cluster takes the place of nothing but another compressed one or zeroes.
void require_free_clusters(Image& image, std::uint64_t offset, std::uint64_t length_bytes) {
  while (length_bytes != 0) {
    const Extent extent = image.map_layer(offset, length_bytes);
    if (extent.kind == ExtentKind::data || extent.kind == ExtentKind::compressed) fail(EIO);
    offset += extent.length_bytes;
    length_bytes -= extent.length_bytes;
  }
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

void read_disk(Image& image, std::uint64_t offset, std::span<std::byte> into) {
  require_inside(image, offset, into.size());
  image.read(offset, into);
}

void write_disk(Image& image, std::uint64_t offset, std::span<const std::byte> from, bool durable) {
  require_inside(image, offset, from.size());
  image.write(offset, from);
  if (durable) image.flush();
}

void write_zeroes_to_disk(Image& image, const ZeroRequest& request) {
  require_inside(image, request.offset, request.length_bytes);
  if (request.no_fallback) {
    if (!image.try_write_zeroes(request.offset, request.length_bytes, request.may_unmap)) {
      fail(ENOTSUP);
    }
  } else {
    image.write_zeroes(request.offset, request.length_bytes, request.may_unmap);
  }
  if (request.durable) image.flush();
}

void write_compressed_to_disk(Image& image, std::uint64_t offset, std::span<const std::byte> from) {
  require_inside(image, offset, from.size());
  const std::uint64_t cluster_bytes = image.cluster_size();
  if (cluster_bytes == 0) fail(ENOTSUP);
  const bool ends_whole =
      from.size() % cluster_bytes == 0 || offset + from.size() == image.virtual_size();
  if (offset % cluster_bytes != 0 || !ends_whole) fail(EINVAL);
  // The older format takes no more than one at a time.
  if (image.format() == "qcow" && from.size() > cluster_bytes) fail(EINVAL);
  while (!from.empty()) {
    const auto cluster = from.first(std::min<std::uint64_t>(from.size(), cluster_bytes));
    require_free_clusters(image, offset, cluster.size());
    image.write_compressed(offset, image.compress(cluster), cluster);
    offset += cluster.size();
    from = from.subspan(cluster.size());
  }
}

void discard_on_disk(Image& image, std::uint64_t offset, std::uint64_t length_bytes) {
  require_inside(image, offset, length_bytes);
  image.discard(offset, length_bytes);
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
