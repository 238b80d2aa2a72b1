// The area behind the disk, where a machine's state is kept for a snapshot to take (qcow2 spec,
// Snapshots).
#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "formats/qcow2/limits.h"
#include "formats/qcow2/qcow2_layer.h"

namespace qcowkit::qcow2 {

/// Like `read`, but the disk's end is no end, and no backing file is behind.
void Qcow2Layer::read_behind_disk(GuestOffset guest_offset, std::span<std::byte> into) {
  while (!into.empty()) {
    const EpochPin pin(metadata_.epochs());
    const LayerExtent extent = map(guest_offset, into.size());
    const std::span<std::byte> part = into.first(extent.length_bytes);
    if (extent.kind == ExtentKind::unallocated) {
      std::memset(part.data(), 0, part.size());
    } else {
      read_run(guest_offset, extent, part);
    }
    guest_offset += part.size();
    into = into.subspan(part.size());
  }
}

/// Makes the L1 table reach to `end`.
void Qcow2Layer::cover_with_l1(GuestOffset end) {
  const std::uint64_t entries = geometry_.l1_entries_for(end.value);
  if (entries * sizeof(std::uint64_t) > kL1TableBytesMax) {
    throw Error(Errc::limit_exceeded,
                fmt::format("L1 table: {} entries are needed, at most {} are possible", entries,
                            kL1TableBytesMax / sizeof(std::uint64_t)));
  }
  std::vector<std::uint64_t> l1_table = metadata_.map().l1_table();
  if (l1_table.size() >= entries) return;
  l1_table.resize(entries);
  metadata_.replace_l1_table(
      std::move(l1_table), false, [](Header&) {}, Metadata::L1Change::grow);
}

void Qcow2Layer::read_vm_state(std::uint64_t offset, std::span<std::byte> into) {
  require_readable();
  storage_->raise(Event::vmstate_load, offset, into.size());
  const std::uint64_t begin = vm_state_begin().value;
  if (offset > kVirtualSizeMax - begin || into.size() > kVirtualSizeMax - begin - offset) {
    throw Error(Errc::invalid_argument,
                fmt::format("VM state: there is nothing at offset {}", offset));
  }
  read_behind_disk({begin + offset}, into);
}

void Qcow2Layer::write_vm_state(std::uint64_t offset, std::span<const std::byte> from) {
  const auto end_of = [&] {
    const std::uint64_t begin = vm_state_begin().value;
    if (offset > kVirtualSizeMax - begin || from.size() > kVirtualSizeMax - begin - offset) {
      throw Error(Errc::invalid_argument, fmt::format("VM state: offset {} is too large", offset));
    }
    return GuestOffset{begin + offset + from.size()};
  };
  if (from.empty()) return;
  storage_->raise(Event::vmstate_save, offset, from.size());
  if (uses_data_file()) {
    throw Error(Errc::unsupported, "an image with an external data file cannot hold a VM state");
  }
  for (;;) {
    if (!metadata_.map().covers({end_of().value - 1})) {
      change_alone([&] { cover_with_l1(end_of()); });
    }
    bool done = false;
    change([&] {
      // The disk may have grown between the two.
      if (!metadata_.map().covers({end_of().value - 1})) return;
      write_inside(vm_state_begin() + offset, from);
      done = true;
    });
    if (done) return;
  }
}

}  // namespace qcowkit::qcow2
