#include "formats/layer.h"

#include <algorithm>
#include <cstring>

namespace qcowkit {

namespace {

/// A layer's clusters, kept where they are for a scope.
class LayerPin {
 public:
  explicit LayerPin(Layer& layer) noexcept : layer_(layer), slot_(layer.pin()) {}
  ~LayerPin() { layer_.unpin(slot_); }
  LayerPin(const LayerPin&) = delete;
  LayerPin& operator=(const LayerPin&) = delete;

 private:
  Layer& layer_;
  std::uint32_t slot_;
};

}  // namespace

void Layer::read(GuestOffset guest_offset, std::span<std::byte> into) {
  const std::uint64_t size = virtual_size();
  const std::uint64_t inside =
      guest_offset.value >= size ? 0
                                 : std::min<std::uint64_t>(into.size(), size - guest_offset.value);
  if (inside < into.size()) {
    std::memset(into.data() + inside, 0, into.size() - inside);
    into = into.first(inside);
  }
  if (!into.empty()) read_inside(guest_offset, into);
}

void Layer::read_inside(GuestOffset guest_offset, std::span<std::byte> into) {
  while (!into.empty()) {
    const LayerPin pin(*this);
    const LayerExtent extent = map(guest_offset, into.size());
    read_run(guest_offset, extent, into.first(extent.length_bytes));
    guest_offset += extent.length_bytes;
    into = into.subspan(extent.length_bytes);
  }
}

void Layer::read_run(GuestOffset guest_offset, const LayerExtent& extent,
                     std::span<std::byte> into) {
  switch (extent.kind) {
    case ExtentKind::data:
      storage().raise(Event::read_aio, guest_offset.value, into.size());
      if (extent.is_encrypted) {
        read_encrypted(guest_offset, extent, into);
        return;
      }
      extent.storage->read(extent.host_offset.value, into);
      return;
    case ExtentKind::compressed:
      read_compressed(guest_offset, extent, into);
      return;
    case ExtentKind::unallocated:
      if (backing_ != nullptr) {
        storage().raise(Event::read_backing_aio, guest_offset.value, into.size());
        backing_->read(guest_offset, into);
        return;
      }
      [[fallthrough]];
    case ExtentKind::zero:
      std::memset(into.data(), 0, into.size());
      return;
  }
}

bool Layer::is_known_zero(GuestOffset guest_offset, std::uint64_t length_bytes) {
  const std::uint64_t size = virtual_size();
  if (guest_offset.value >= size) return true;
  length_bytes = std::min(length_bytes, size - guest_offset.value);
  while (length_bytes > 0) {
    const LayerExtent extent = map(guest_offset, length_bytes);
    const bool is_zero =
        extent.kind == ExtentKind::zero ||
        (extent.kind == ExtentKind::unallocated &&
         (backing_ == nullptr || backing_->is_known_zero(guest_offset, extent.length_bytes)));
    if (!is_zero) return false;
    guest_offset += extent.length_bytes;
    length_bytes -= extent.length_bytes;
  }
  return true;
}

}  // namespace qcowkit
