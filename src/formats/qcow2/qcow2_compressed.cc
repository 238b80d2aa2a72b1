// Storing compressed clusters.
#include <fmt/core.h>

#include "formats/compress_cluster.h"
#include "formats/qcow2/qcow2_layer.h"

namespace qcowkit::qcow2 {

CompressedCluster Qcow2Layer::compress(std::span<const std::byte> cluster, int level) const {
  return compress_cluster(compression_type_, level, cluster, geometry_.cluster_size());
}

void Qcow2Layer::write_compressed(GuestOffset guest_offset, const CompressedCluster& compressed,
                                  std::span<const std::byte> plain) {
  const std::uint64_t size = virtual_size();
  const std::uint64_t expected =
      std::min(geometry_.cluster_size(), size - std::min(guest_offset.value, size));
  if (geometry_.in_cluster(guest_offset.value) != 0 || plain.size() != expected) {
    throw Error(Errc::invalid_argument,
                fmt::format("a compressed write of {} bytes at {:#x} is not one whole cluster",
                            plain.size(), guest_offset.value));
  }
  if (uses_data_file()) {
    throw Error(Errc::unsupported, "an image with an external data file cannot be compressed");
  }
  if (is_encrypted()) {
    throw Error(Errc::unsupported, "Compression and encryption not supported at the same time");
  }
  if (compressed.bytes.empty() || compressed.bytes.size() >= geometry_.cluster_size()) {
    write(guest_offset, plain);
    return;
  }
  change_disk(guest_offset, plain.size(), [&] { write_stream(guest_offset, compressed.bytes); });
}

/// Stores a compressed cluster, whose stream is shorter than a cluster.
void Qcow2Layer::write_stream(GuestOffset guest_offset, std::span<const std::byte> stream) {
  const GuestRangeLock::Holder range(ranges_, guest_offset,
                                     guest_offset + geometry_.cluster_size());
  RawL2Entry old_entry;
  metadata_.map().read_entries(guest_offset, std::span(&old_entry, 1));
  metadata_.own_table(guest_offset);
  const std::uint64_t bytes = stream.size();
  const HostOffset host_offset = metadata_.allocate_bytes(bytes);
  std::size_t replaced = 0;
  try {
    storage_->raise(Event::write_compressed, host_offset.value, bytes);
    storage_->write(host_offset.value, stream);
    storage_->raise(Event::l2_update_compressed, guest_offset.value);
    const RawL2Entry entry = L2Mapping::encode_compressed(host_offset, bytes, geometry_);
    metadata_.map().replace_entries(guest_offset, std::span(&entry, 1), replaced);
  } catch (...) {
    metadata_.release(host_offset, bytes);
    throw;
  }
  wrote_compressed_.store(true, std::memory_order_relaxed);
  free_old(old_entry, guest_offset, FreedBy::other);
}

}  // namespace qcowkit::qcow2
