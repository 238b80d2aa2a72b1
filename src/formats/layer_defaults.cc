// What a layer answers where its format lacks a feature.
#include "formats/layer.h"

namespace qcowkit {

namespace {

[[noreturn]] void lacks(const char* feature) {
  throw Error(Errc::unsupported, std::string("the image's format has no ") + feature);
}

constexpr const char* kSnapshots = "internal snapshots";
constexpr const char* kBitmaps = "persistent bitmaps";

}  // namespace

void Layer::read_encrypted(GuestOffset, const LayerExtent&, std::span<std::byte>) {
  lacks("encryption");
}

CheckReport Layer::check(const CheckOptions&) { lacks("consistency check"); }
void Layer::resize(std::uint64_t, const ResizeOptions&) { lacks("way to change the disk's size"); }
void Layer::amend(const AmendOptions&) { lacks("options that can be amended"); }
void Layer::make_empty() { lacks("clusters that could be given back"); }

std::vector<SnapshotInfo> Layer::snapshots() const { lacks(kSnapshots); }
SnapshotInfo Layer::create_snapshot(const Image::NewSnapshot&) { lacks(kSnapshots); }
void Layer::apply_snapshot(const SnapshotSelector&) { lacks(kSnapshots); }
void Layer::delete_snapshot(const SnapshotSelector&) { lacks(kSnapshots); }
void Layer::read_vm_state(std::uint64_t, std::span<std::byte>) { lacks(kSnapshots); }
void Layer::write_vm_state(std::uint64_t, std::span<const std::byte>) { lacks(kSnapshots); }

std::vector<BitmapInfo> Layer::bitmaps() const { lacks(kBitmaps); }
void Layer::add_bitmap(const Image::NewBitmap&) { lacks(kBitmaps); }
void Layer::remove_bitmap(const std::string&) { lacks(kBitmaps); }
void Layer::clear_bitmap(const std::string&) { lacks(kBitmaps); }
void Layer::enable_bitmap(const std::string&, bool) { lacks(kBitmaps); }
void Layer::mark_bitmap(const std::string&, GuestOffset, std::uint64_t) { lacks(kBitmaps); }
BitmapExtent Layer::map_bitmap(const std::string&, GuestOffset, std::uint64_t) { lacks(kBitmaps); }

}  // namespace qcowkit
