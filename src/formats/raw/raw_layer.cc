#include "formats/raw/raw_layer.h"

#include <fmt/core.h>

#include "base/checked.h"
#include "base/sector.h"

namespace qcowkit::raw {

namespace {}  // namespace

RawLayer::RawLayer(std::unique_ptr<Storage> storage, bool read_only)
    : storage_(std::move(storage)),
      virtual_size_(align_up(storage_->size(), kSectorBytes)),
      read_only_(read_only) {}

void RawLayer::require_writable() const {
  if (read_only_) throw Error(Errc::read_only, "the image is open read-only");
}

LayerExtent RawLayer::map(GuestOffset guest_offset, std::uint64_t length_bytes) {
  const StorageExtent found = storage_->extent_at(guest_offset.value, length_bytes);
  LayerExtent extent;
  extent.kind = found.is_hole ? ExtentKind::zero : ExtentKind::data;
  extent.length_bytes = found.length_bytes;
  extent.has_unusual_space = found.has_unusual_space;
  const StoragePlace place = storage_->place_of(guest_offset.value);
  extent.host_offset = {place.host_offset};
  extent.storage = place.storage;
  extent.has_host_offset = true;
  return extent;
}

void RawLayer::read_inside(GuestOffset guest_offset, std::span<std::byte> into) {
  storage_->raise(Event::read_aio, guest_offset.value, into.size());
  storage_->read(guest_offset.value, into);
}

void RawLayer::read_compressed(GuestOffset, const LayerExtent&, std::span<std::byte>) {
  throw Error(Errc::unsupported, "a raw image has no compressed clusters");
}

void RawLayer::write(GuestOffset guest_offset, std::span<const std::byte> from) {
  require_writable();
  storage_->raise(Event::write_aio, guest_offset.value, from.size());
  storage_->write(guest_offset.value, from);
}

void RawLayer::write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes, bool may_unmap) {
  require_writable();
  storage_->write_zeroes(guest_offset.value, length_bytes, {.may_unmap = may_unmap});
}

bool RawLayer::try_write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes,
                                bool may_unmap) {
  require_writable();
  return storage_->write_zeroes(guest_offset.value, length_bytes,
                                {.may_unmap = may_unmap, .no_fallback = true});
}

void RawLayer::discard(GuestOffset guest_offset, std::uint64_t length_bytes) {
  require_writable();
  // More than a hint here: a discarded range reads as zeroes.
  storage_->write_zeroes(guest_offset.value, length_bytes, {.may_unmap = true});
}

void RawLayer::write_in_place(GuestOffset guest_offset, std::uint64_t length_bytes,
                              const Image::FillRun& fill) {
  require_writable();
  storage_->raise(Event::write_aio, guest_offset.value, length_bytes);
  fill(*storage_, guest_offset.value, guest_offset.value, length_bytes);
}

CompressedCluster RawLayer::compress(std::span<const std::byte>, int) const {
  throw Error(Errc::unsupported, "a raw image cannot be compressed");
}

void RawLayer::write_compressed(GuestOffset, const CompressedCluster&, std::span<const std::byte>) {
  throw Error(Errc::unsupported, "a raw image cannot be compressed");
}

void RawLayer::flush() {
  if (read_only_) return;
  storage_->raise(Event::flush_to_os);
  storage_->flush();
  storage_->raise(Event::flush_to_disk);
}

void RawLayer::describe(ImageInfo& info) const { info.virtual_size_bytes = virtual_size_; }

CheckReport RawLayer::check(const CheckOptions&) {
  throw Error(Errc::unsupported, "a raw image has nothing that could be checked");
}

void RawLayer::resize(std::uint64_t size_bytes, const ResizeOptions& options) {
  require_writable();
  const std::uint64_t present_bytes = storage_->size();
  if (size_bytes < present_bytes && !options.may_shrink) {
    throw Error(Errc::invalid_argument,
                fmt::format("the image has {} bytes and may not be made smaller", present_bytes));
  }
  if (size_bytes < present_bytes && options.preallocation != Preallocation::off) {
    throw Error(Errc::invalid_argument, "Cannot use preallocation for shrinking files");
  }
  if (options.preallocation == Preallocation::metadata) {
    throw Error(Errc::invalid_argument, "Unsupported preallocation mode: metadata");
  }
  storage_->resize(size_bytes, options.preallocation);
  virtual_size_ = align_up(size_bytes, kSectorBytes);
}

void RawLayer::close() { storage_->close(); }

}  // namespace qcowkit::raw
