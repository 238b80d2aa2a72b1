// Snapshots, bitmaps, and changes of an image as a whole.
#include <algorithm>

#include "image/image_impl.h"
#include "image/named.h"
#include "qcowkit/image.h"

namespace qcowkit {

std::vector<SnapshotInfo> Image::snapshots() const {
  return named(impl_->filename, [&] { return impl_->layer->snapshots(); });
}

SnapshotInfo Image::create_snapshot(const NewSnapshot& snapshot) {
  return named(impl_->filename, [&] { return impl_->layer->create_snapshot(snapshot); });
}

void Image::apply_snapshot(const SnapshotSelector& which) {
  impl_->change_whole([&](Layer& layer) { layer.apply_snapshot(which); });
}

void Image::delete_snapshot(const SnapshotSelector& which) {
  named(impl_->filename, [&] { impl_->layer->delete_snapshot(which); });
}

void Image::read_vm_state(std::uint64_t offset, std::span<std::byte> into) {
  named(impl_->filename, [&] { impl_->layer->read_vm_state(offset, into); });
}

void Image::write_vm_state(std::uint64_t offset, std::span<const std::byte> from) {
  named(impl_->filename, [&] { impl_->layer->write_vm_state(offset, from); });
}

std::vector<BitmapInfo> Image::bitmaps() const {
  return named(impl_->filename, [&] { return impl_->layer->bitmaps(); });
}

void Image::add_bitmap(const NewBitmap& bitmap) {
  named(impl_->filename, [&] { impl_->layer->add_bitmap(bitmap); });
}

void Image::remove_bitmap(const std::string& name) {
  named(impl_->filename, [&] { impl_->layer->remove_bitmap(name); });
}

void Image::clear_bitmap(const std::string& name) {
  named(impl_->filename, [&] { impl_->layer->clear_bitmap(name); });
}

void Image::enable_bitmap(const std::string& name, bool enabled) {
  named(impl_->filename, [&] { impl_->layer->enable_bitmap(name, enabled); });
}

void Image::mark_bitmap(const std::string& name, std::uint64_t guest_offset,
                        std::uint64_t length_bytes) {
  impl_->require_range(guest_offset, length_bytes);
  if (length_bytes == 0) return;
  named(impl_->filename, [&] { impl_->layer->mark_bitmap(name, {guest_offset}, length_bytes); });
}

BitmapExtent Image::map_bitmap(const std::string& name, std::uint64_t guest_offset,
                               std::uint64_t length_bytes) {
  impl_->require_range(guest_offset, length_bytes);
  return named(impl_->filename,
               [&] { return impl_->layer->map_bitmap(name, {guest_offset}, length_bytes); });
}

void Image::merge_bitmap(const std::string& target, Image& source, const std::string& source_name) {
  map_bitmap(target, 0, 0);  // fails if there is nothing to merge into
  const std::uint64_t end = std::min(virtual_size(), source.virtual_size());
  for (std::uint64_t at = 0; at < end;) {
    const BitmapExtent extent = source.map_bitmap(source_name, at, end - at);
    if (extent.is_dirty) mark_bitmap(target, at, extent.length_bytes);
    at += extent.length_bytes;
  }
}

void Image::resize(std::uint64_t size_bytes, const ResizeOptions& options) {
  impl_->change_whole([&](Layer& layer) { layer.resize(size_bytes, options); });
}

void Image::amend(const AmendOptions& options) {
  impl_->change_whole([&](Layer& layer) { layer.amend(options); });
}

void Image::make_empty() {
  impl_->change([](Layer& layer) { layer.make_empty(); });
}

void Image::invalidate() {
  impl_->change_whole([](Layer& layer) { layer.invalidate(); });
}

}  // namespace qcowkit
