// Storing compressed clusters.
#include <fmt/core.h>

#include <algorithm>

#include "formats/compress_cluster.h"
#include "formats/qcow1/qcow1_layer.h"

namespace qcowkit::qcow1 {

CompressedCluster Qcow1Layer::compress(std::span<const std::byte> cluster, int level) const {
  return compress_cluster(CompressionType::deflate, level, cluster, geometry_.cluster_size());
}

void Qcow1Layer::write_compressed(GuestOffset guest_offset, const CompressedCluster& compressed,
                                  std::span<const std::byte> plain) {
  const std::uint64_t expected = std::min(
      geometry_.cluster_size(), virtual_size_ - std::min(guest_offset.value, virtual_size_));
  if (geometry_.in_cluster(guest_offset.value) != 0 || plain.size() != expected) {
    throw Error(Errc::invalid_argument,
                fmt::format("a compressed write of {} bytes at {:#x} is not one whole cluster",
                            plain.size(), guest_offset.value));
  }
  before_change();
  const RequestGate::Shared inside(gate_);
  const bool is_smaller =
      !compressed.bytes.empty() && compressed.bytes.size() < geometry_.cluster_size();
  if (!is_smaller || !append_compressed(guest_offset, compressed.bytes)) {
    write_bytes(guest_offset, plain);
  }
}

/// Returns false, with nothing done, if the cluster has a host cluster.
bool Qcow1Layer::append_compressed(GuestOffset cluster, std::span<const std::byte> stream) {
  const GuestRangeLock::Holder range(ranges_, cluster, cluster + geometry_.cluster_size());
  std::uint64_t old_entry = 0;
  metadata_.map().read_entries(cluster, std::span(&old_entry, 1));
  if (metadata_.map().decode(old_entry, cluster).kind == L2Mapping::Kind::data) return false;

  metadata_.make_table(cluster);
  const HostOffset host_offset = metadata_.allocate_bytes(stream.size());
  try {
    storage_->raise(Event::write_compressed, host_offset.value, stream.size());
    storage_->write(host_offset.value, stream);
    const std::uint64_t entry = L2Mapping::encode_compressed(host_offset, stream.size(), geometry_);
    std::size_t replaced = 0;
    metadata_.map().replace_entries(cluster, std::span(&entry, 1), replaced);
  } catch (...) {
    metadata_.release(host_offset, stream.size());
    throw;
  }
  return true;
}

}  // namespace qcowkit::qcow1
