// Moving guest data that is, or may be, encrypted.
#include "formats/qcow1/qcow1_layer.h"

namespace qcowkit::qcow1 {

/// Sectors are numbered as the guest sees them.
EncryptedRun Qcow1Layer::encrypted_run(GuestOffset guest_offset, HostOffset host_offset) const {
  return {*storage_, *cipher_, host_offset, guest_offset.value};
}

void Qcow1Layer::read_encrypted(GuestOffset guest_offset, const LayerExtent& extent,
                                std::span<std::byte> into) {
  const EncryptedRun run = encrypted_run(guest_offset, extent.host_offset);
  traffic_.read(guest_offset, into.size(), [&] { qcowkit::read_encrypted(run, into); });
}

void Qcow1Layer::write_data(GuestOffset guest_offset, HostOffset host_offset,
                            std::span<const std::byte> from) {
  storage_->raise(Event::write_aio, guest_offset.value, from.size());
  if (!is_encrypted_) {
    storage_->write(host_offset.value, from);
    return;
  }
  const SectorTraffic::Writing writing(traffic_, guest_offset, from.size());
  write_encrypted(encrypted_run(guest_offset, host_offset), from);
}

void Qcow1Layer::write_zero_data(GuestOffset guest_offset, HostOffset host_offset,
                                 std::uint64_t length_bytes, bool may_unmap) {
  storage_->raise(Event::write_aio, guest_offset.value, length_bytes);
  if (!is_encrypted_) {
    storage_->write_zeroes(host_offset.value, length_bytes, {.may_unmap = may_unmap});
    return;
  }
  const SectorTraffic::Writing writing(traffic_, guest_offset, length_bytes);
  write_encrypted_zeroes(encrypted_run(guest_offset, host_offset), length_bytes);
}

}  // namespace qcowkit::qcow1
