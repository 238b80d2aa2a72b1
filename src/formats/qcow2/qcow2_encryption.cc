// Reading and writing clusters that are, or may be, encrypted.
#include <algorithm>
#include <cstring>

#include "formats/qcow2/qcow2_layer.h"

namespace qcowkit::qcow2 {

/// With the old method, sectors are numbered as the guest sees them, with LUKS as they lie on the
/// host.
EncryptedRun Qcow2Layer::encrypted_run(GuestOffset guest_offset, HostOffset host_offset) const {
  const std::uint64_t numbered_from =
      crypt_method_ == crypt_method::kLuks ? host_offset.value : guest_offset.value;
  return {data_storage(), *cipher_, host_offset, numbered_from};
}

void Qcow2Layer::read_encrypted(GuestOffset guest_offset, const LayerExtent& extent,
                                std::span<std::byte> into) {
  const EncryptedRun run = encrypted_run(guest_offset, extent.host_offset);
  traffic_.read(guest_offset, into.size(), [&] { qcowkit::read_encrypted(run, into); });
}

void Qcow2Layer::write_data(GuestOffset guest_offset, HostOffset host_offset,
                            std::span<const std::byte> from) {
  storage_->raise(Event::write_aio, guest_offset.value, from.size());
  if (!is_encrypted()) {
    data_storage().write(host_offset.value, from);
    return;
  }
  const SectorTraffic::Writing writing(traffic_, guest_offset, from.size());
  write_encrypted(encrypted_run(guest_offset, host_offset), from);
}

void Qcow2Layer::write_zero_data(GuestOffset guest_offset, HostOffset host_offset,
                                 std::uint64_t length_bytes) {
  storage_->raise(Event::write_aio, guest_offset.value, length_bytes);
  if (!is_encrypted()) {
    data_storage().write_zeroes(host_offset.value, length_bytes, {});
    return;
  }
  const SectorTraffic::Writing writing(traffic_, guest_offset, length_bytes);
  write_encrypted_zeroes(encrypted_run(guest_offset, host_offset), length_bytes);
}

/// Writes data with what is copied on write around it as one run: sectors are encrypted whole.
void Qcow2Layer::write_joined(const WritePlan& plan, GuestOffset begin, const Buffer& head,
                              std::span<const std::byte> from, const Buffer& tail) {
  if (head.size() == 0 && tail.size() == 0) {
    write_data(begin, plan.host_of(begin), from);
    return;
  }
  Buffer joined(head.size() + from.size() + tail.size());
  auto append = [at = joined.data()](const std::byte* bytes, std::size_t size) mutable {
    if (size != 0) std::memcpy(at, bytes, size);
    at += size;
  };
  append(head.data(), head.size());
  append(from.data(), from.size());
  append(tail.data(), tail.size());
  const GuestOffset start{begin.value - head.size()};
  write_data(start, plan.host_of(start), joined.span());
}

}  // namespace qcowkit::qcow2
