#include "formats/luks/luks_layer.h"

#include <algorithm>

#include "formats/encrypted_io.h"
#include "formats/fill_plain.h"
#include "formats/luks/limits.h"

namespace qcowkit::luks {

namespace {

[[noreturn]] void lacks_compression() {
  throw Error(Errc::unsupported, "a LUKS volume cannot be compressed");
}

bool changes_only_key_slots(const AmendOptions& options) {
  return options.key_slot && !options.size_bytes && !options.version && !options.backing_file &&
         !options.backing_format && !options.lazy_refcounts && !options.refcount_bits &&
         !options.data_file && !options.data_file_raw;
}

}  // namespace

LuksLayer::LuksLayer(std::unique_ptr<Storage> storage, bool read_only,
                     std::shared_ptr<const Secret> secret)
    : storage_(std::move(storage)),
      read_only_(read_only),
      secret_(std::move(secret)),
      volume_({*storage_, HostOffset{0}, storage_->size()}),
      payload_offset_bytes_(volume_.payload_offset_bytes()),
      cipher_(secret_ ? volume_.unlock(*secret_) : nullptr),
      virtual_size_(align_up(storage_->size() - payload_offset_bytes_, kSectorBytes)) {}

void LuksLayer::require_writable() const {
  if (read_only_) throw Error(Errc::read_only, "the image is open read-only");
}

void LuksLayer::require_inside(GuestOffset guest_offset, std::uint64_t length_bytes) const {
  if (guest_offset.value + length_bytes <= virtual_size()) return;
  throw Error(Errc::invalid_argument, "the disk has become smaller than the range to be written");
}

const crypto::SectorCipher& LuksLayer::cipher() const {
  if (cipher_ == nullptr) {
    throw Error(Errc::invalid_argument, "Parameter 'key-secret' is required for cipher");
  }
  return *cipher_;
}

LayerExtent LuksLayer::map(GuestOffset guest_offset, std::uint64_t length_bytes) {
  LayerExtent extent;
  extent.kind = ExtentKind::data;
  extent.length_bytes = length_bytes;
  extent.host_offset = host_offset(guest_offset);
  extent.storage = storage_.get();
  extent.has_host_offset = true;
  extent.is_encrypted = true;
  return extent;
}

void LuksLayer::read_encrypted(GuestOffset guest_offset, const LayerExtent& extent,
                               std::span<std::byte> into) {
  const EncryptedRun run = {*storage_, cipher(), extent.host_offset, guest_offset.value};
  traffic_.read(guest_offset, into.size(), [&] { qcowkit::read_encrypted(run, into); });
}

void LuksLayer::read_compressed(GuestOffset, const LayerExtent&, std::span<std::byte>) {
  lacks_compression();
}

void LuksLayer::write(GuestOffset guest_offset, std::span<const std::byte> from) {
  require_writable();
  const EncryptedRun run = {*storage_, cipher(), host_offset(guest_offset), guest_offset.value};
  const SectorTraffic::Writing writing(traffic_, guest_offset, from.size());
  require_inside(guest_offset, from.size());
  write_encrypted(run, from);
}

void LuksLayer::write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes, bool) {
  require_writable();
  const EncryptedRun run = {*storage_, cipher(), host_offset(guest_offset), guest_offset.value};
  const SectorTraffic::Writing writing(traffic_, guest_offset, length_bytes);
  require_inside(guest_offset, length_bytes);
  write_encrypted_zeroes(run, length_bytes);
}

void LuksLayer::discard(GuestOffset, std::uint64_t) {
  // A volume has no clusters that could be given back.
  require_writable();
}

void LuksLayer::write_in_place(GuestOffset guest_offset, std::uint64_t length_bytes,
                               const Image::FillRun& fill) {
  require_writable();
  cipher();
  fill_plain(guest_offset, length_bytes, fill,
             [this](GuestOffset at, std::span<const std::byte> run) { write(at, run); });
}

CompressedCluster LuksLayer::compress(std::span<const std::byte>, int) const {
  lacks_compression();
}

void LuksLayer::write_compressed(GuestOffset, const CompressedCluster&,
                                 std::span<const std::byte>) {
  lacks_compression();
}

void LuksLayer::flush() {
  if (read_only_) return;
  storage_->raise(Event::flush_to_os);
  storage_->flush();
  storage_->raise(Event::flush_to_disk);
}

void LuksLayer::describe(ImageInfo& info) const {
  info.virtual_size_bytes = virtual_size();
  info.encryption = EncryptionFormat::luks;
  const MutexLock lock(volume_mutex_);
  info.luks = volume_.info();
}

CheckReport LuksLayer::check(const CheckOptions&) {
  throw Error(Errc::unsupported, "a LUKS volume has nothing that could be checked");
}

void LuksLayer::resize(std::uint64_t size_bytes, const ResizeOptions& options) {
  require_writable();
  const SectorTraffic::Writing nobody_else(traffic_, {0}, kDiskBytesMax);
  if (size_bytes < virtual_size() && !options.may_shrink) {
    throw Error(Errc::invalid_argument, "the disk would lose what lies behind its new end");
  }
  if (size_bytes > kDiskBytesMax) {
    throw Error(Errc::limit_exceeded, "the new size is larger than any file");
  }
  const std::uint64_t rounded = align_up(size_bytes, kSectorBytes);
  storage_->resize(payload_offset_bytes_ + rounded, options.preallocation);
  virtual_size_ = rounded;
}

void LuksLayer::amend(const AmendOptions& options) {
  if (!changes_only_key_slots(options)) {
    throw Error(Errc::unsupported, "of a LUKS volume, only key slots can be amended");
  }
  require_writable();
  if (options.key_slot->activate) cipher();  // adding a passphrase takes one
  KeySlotChange change = *options.key_slot;
  change.force = change.force || options.force;
  const MutexLock lock(volume_mutex_);
  volume_.change_key_slots(secret_ ? *secret_ : Secret(), change);
}

void LuksLayer::close() { storage_->close(); }

}  // namespace qcowkit::luks
