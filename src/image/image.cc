// The guest's requests: checks on ranges, and errors that name the image.
#include "qcowkit/image.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "base/zero_detect.h"
#include "image/image_impl.h"
#include "image/named.h"

namespace qcowkit {

Image::Image(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Image::~Image() {
  try {
    close();
  } catch (const std::exception&) {
    // Nobody is left to tell; `close` is there for those who want to know.
  }
}

void Image::Impl::require_range(std::uint64_t guest_offset, std::uint64_t length_bytes) const {
  const std::uint64_t size = layer->virtual_size();
  if (length_bytes <= size && guest_offset <= size - length_bytes) return;
  throw Error(Errc::invalid_argument,
              fmt::format("{}: {} bytes at guest offset {} reach beyond the disk's end at {}",
                          filename, length_bytes, guest_offset, size));
}

const std::string& Image::filename() const noexcept { return impl_->filename; }
const std::string& Image::format() const noexcept { return impl_->format; }
std::uint64_t Image::virtual_size() const noexcept { return impl_->layer->virtual_size(); }
bool Image::is_read_only() const noexcept { return impl_->layer->is_read_only(); }
bool Image::is_encrypted() const noexcept { return impl_->layer->is_encrypted(); }
std::uint64_t Image::cluster_size() const noexcept { return impl_->layer->cluster_size(); }
Image* Image::backing() const noexcept { return impl_->backing.get(); }
Storage& Image::storage() const noexcept { return impl_->layer->storage(); }
Storage& Image::data_storage() const noexcept { return impl_->layer->data_storage(); }

void Image::read(std::uint64_t guest_offset, std::span<std::byte> into) {
  impl_->require_range(guest_offset, into.size());
  named(impl_->filename, [&] { impl_->layer->read({guest_offset}, into); });
}

void Image::write(std::uint64_t guest_offset, std::span<const std::byte> from) {
  impl_->require_range(guest_offset, from.size());
  if (from.empty()) return;
  if (impl_->detect_zeroes != DetectZeroes::off && is_zero(from)) {
    write_zeroes(guest_offset, from.size(), impl_->detect_zeroes == DetectZeroes::unmap);
    return;
  }
  impl_->change([&](Layer& layer) { layer.write({guest_offset}, from); });
}

void Image::write_zeroes(std::uint64_t guest_offset, std::uint64_t length_bytes, bool may_unmap) {
  impl_->require_range(guest_offset, length_bytes);
  if (length_bytes == 0) return;
  may_unmap = may_unmap && !impl_->ignores_discards;
  impl_->change([&](Layer& layer) { layer.write_zeroes({guest_offset}, length_bytes, may_unmap); });
}

bool Image::try_write_zeroes(std::uint64_t guest_offset, std::uint64_t length_bytes,
                             bool may_unmap) {
  impl_->require_range(guest_offset, length_bytes);
  if (length_bytes == 0) return true;
  bool done = false;
  may_unmap = may_unmap && !impl_->ignores_discards;
  impl_->change([&](Layer& layer) {
    done = layer.try_write_zeroes({guest_offset}, length_bytes, may_unmap);
  });
  return done;
}

void Image::discard(std::uint64_t guest_offset, std::uint64_t length_bytes) {
  impl_->require_range(guest_offset, length_bytes);
  if (length_bytes == 0 || impl_->ignores_discards) return;
  impl_->change([&](Layer& layer) { layer.discard({guest_offset}, length_bytes); });
}

void Image::write_in_place(std::uint64_t guest_offset, std::uint64_t length_bytes,
                           const FillRun& fill) {
  impl_->require_range(guest_offset, length_bytes);
  if (length_bytes == 0) return;
  impl_->change([&](Layer& layer) { layer.write_in_place({guest_offset}, length_bytes, fill); });
}

CompressedCluster Image::compress(std::span<const std::byte> cluster, int level) const {
  return named(impl_->filename, [&] { return impl_->layer->compress(cluster, level); });
}

void Image::write_compressed(std::uint64_t guest_offset, const CompressedCluster& compressed,
                             std::span<const std::byte> plain) {
  impl_->require_range(guest_offset, plain.size());
  impl_->change([&](Layer& layer) { layer.write_compressed({guest_offset}, compressed, plain); });
}

void Image::flush() {
  named(impl_->filename, [&] { impl_->layer->flush(); });
}

Extent Image::Impl::to_extent(std::uint64_t guest_offset, const LayerExtent& found) const {
  Extent extent;
  extent.guest_offset = guest_offset;
  extent.length_bytes = found.length_bytes;
  extent.kind = found.kind;
  extent.is_encrypted = found.is_encrypted;
  extent.has_unusual_space = found.has_unusual_space;
  if (found.has_host_offset && !found.is_encrypted) {
    extent.host_offset = found.host_offset.value;
    extent.storage = found.storage;
    extent.file = found.storage == &layer->storage() ? &file : &found.storage->name();
  }
  return extent;
}

Extent Image::map_layer(std::uint64_t guest_offset, std::uint64_t length_bytes) {
  impl_->require_range(guest_offset, length_bytes);
  return impl_->to_extent(guest_offset, named(impl_->filename, [&] {
                            return impl_->layer->map({guest_offset}, length_bytes);
                          }));
}

Extent Image::map(std::uint64_t guest_offset, std::uint64_t length_bytes) {
  std::uint32_t depth = 0;
  for (Image* image = this;; image = image->backing()) {
    Extent extent = image->map_layer(guest_offset, length_bytes);
    extent.depth = depth;
    Image* next = image->backing();
    if (extent.kind != ExtentKind::unallocated || next == nullptr) return extent;
    const std::uint64_t next_size = next->virtual_size();
    if (guest_offset >= next_size) return extent;  // no layer below reaches so far
    length_bytes = extent.length_bytes;
    ++depth;
    length_bytes = std::min(length_bytes, next_size - guest_offset);
  }
}

std::size_t Image::map(std::uint64_t guest_offset, std::uint64_t length_bytes,
                       std::span<Extent> into) {
  impl_->require_range(guest_offset, length_bytes);
  const std::uint64_t end = guest_offset + length_bytes;
  std::array<LayerExtent, 64> runs;
  std::size_t count = 0;
  while (guest_offset < end && count < into.size()) {
    const std::size_t found = named(impl_->filename, [&] {
      return impl_->layer->map_runs(
          {guest_offset}, end - guest_offset,
          std::span(runs).first(std::min(runs.size(), into.size() - count)));
    });
    for (std::size_t i = 0; i < found && count < into.size(); ++i) {
      if (runs[i].kind != ExtentKind::unallocated || !impl_->backing) {
        into[count++] = impl_->to_extent(guest_offset, runs[i]);
        guest_offset += runs[i].length_bytes;
        continue;
      }
      // Those behind may tell more than one thing of it.
      const std::uint64_t run_end = guest_offset + runs[i].length_bytes;
      for (; guest_offset < run_end && count < into.size(); ++count) {
        into[count] = map(guest_offset, run_end - guest_offset);
        guest_offset += into[count].length_bytes;
      }
    }
  }
  return count;
}

Image::Pin Image::pin() {
  const auto release = [](void* state, std::uint32_t slot) noexcept {
    static_cast<Layer*>(state)->unpin(slot);
  };
  return {release, impl_->layer.get(), impl_->layer->pin()};
}

ImageInfo Image::info() const {
  ImageInfo info;
  info.filename = impl_->filename;
  info.format = impl_->format;
  named(impl_->filename, [&] {
    impl_->layer->describe(info);
    if (!impl_->label.hides_allocation) {
      info.allocated_bytes = impl_->layer->storage().allocated_bytes();
    }
  });
  if (!info.cluster_size_bytes && impl_->label.cluster_bytes != 0) {
    info.cluster_size_bytes = impl_->label.cluster_bytes;
  }
  info.encrypted = impl_->layer->is_encrypted();
  info.backing_file_resolved = impl_->backing_path;
  return info;
}

CheckReport Image::check(const CheckOptions& options) {
  const ChangeNote note(*impl_->layer, ChangeNote::Of::whole_disk);  // a repair is one
  return named(impl_->filename, [&] { return impl_->layer->check(options); });
}

void Image::close() {
  if (impl_->closed) return;
  impl_->closed = true;
  named(impl_->filename, [&] { impl_->layer->close(); });
  if (impl_->backing) impl_->backing->close();
}

}  // namespace qcowkit
