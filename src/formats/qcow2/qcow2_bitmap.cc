// Persistent dirty bitmaps of an open image.
#include "formats/qcow2/qcow2_layer.h"

namespace qcowkit::qcow2 {

std::vector<BitmapInfo> Qcow2Layer::bitmaps() const {
  const RequestGate::Shared inside(gate_);
  return bitmaps_.list();
}

BitmapExtent Qcow2Layer::map_bitmap(const std::string& name, GuestOffset guest_offset,
                                    std::uint64_t length_bytes) {
  const RequestGate::Shared inside(gate_);
  return bitmaps_.map(name, guest_offset, length_bytes);
}

void Qcow2Layer::mark_bitmap(const std::string& name, GuestOffset guest_offset,
                             std::uint64_t length_bytes) {
  change([&] { bitmaps_.mark(name, guest_offset, length_bytes); });
}

void Qcow2Layer::add_bitmap(const Image::NewBitmap& bitmap) {
  change_alone([&] { bitmaps_.add(bitmap); });
}

void Qcow2Layer::remove_bitmap(const std::string& name) {
  change_alone([&] { bitmaps_.remove(name); });
}

void Qcow2Layer::clear_bitmap(const std::string& name) {
  change_alone([&] { bitmaps_.clear(name); });
}

void Qcow2Layer::enable_bitmap(const std::string& name, bool enabled) {
  change_alone([&] { bitmaps_.enable(name, enabled); });
}

}  // namespace qcowkit::qcow2
