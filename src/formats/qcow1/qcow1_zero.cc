// Making ranges read as zeroes.
#include <algorithm>

#include "base/zeroes.h"
#include "formats/qcow1/qcow1_layer.h"
#include "formats/qcow1/write_plan.h"

namespace qcowkit::qcow1 {

void Qcow1Layer::write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes,
                              bool may_unmap) {
  before_change();
  const RequestGate::Shared inside(gate_);
  zero_range(guest_offset, length_bytes, may_unmap);
}

void Qcow1Layer::discard(GuestOffset guest_offset, std::uint64_t length_bytes) {
  before_change();
  if (has_backing_name_) return;
  const RequestGate::Shared inside(gate_);
  const GuestOffset request_end = guest_offset + length_bytes;
  const GuestOffset begin = cluster_end(guest_offset);
  const GuestOffset end =
      request_end.value == virtual_size_ ? request_end : cluster_start(request_end);
  if (begin < end) zero_range(begin, end - begin, true);
}

void Qcow1Layer::zero_range(GuestOffset guest_offset, std::uint64_t length_bytes, bool may_unmap) {
  while (length_bytes > 0) {
    const std::uint64_t zeroed = zero_part(guest_offset, length_bytes, may_unmap);
    guest_offset += zeroed;
    length_bytes -= zeroed;
  }
}

/// Returns the length of the part that was zeroed; 0 if somebody else was faster and it is to be
/// tried again.
std::uint64_t Qcow1Layer::zero_part(GuestOffset begin, std::uint64_t length_bytes, bool may_unmap) {
  const LayerExtent extent = map(begin, length_bytes);
  const GuestOffset end = begin + extent.length_bytes;
  if (extent.kind == ExtentKind::data) return zero_in_place(begin, extent.length_bytes, may_unmap);
  if (extent.kind == ExtentKind::unallocated) {
    const bool is_zero = backing() != nullptr ? backing()->is_known_zero(begin, extent.length_bytes)
                                              : !has_backing_name_;
    if (is_zero) return extent.length_bytes;
  }
  const GuestOffset whole_end = end.value == virtual_size_ ? cluster_end(end) : cluster_start(end);
  if (geometry_.in_cluster(begin.value) == 0 && begin < whole_end) {
    const std::uint64_t zeroed =
        has_backing_name_
            ? allocate_zeroes(begin, begin + std::min(whole_end - begin, left_in_table(begin)))
            : unlink_compressed(begin);
    return std::min(zeroed, extent.length_bytes);
  }
  const std::uint64_t part = std::min(end, cluster_end(begin + 1)) - begin;
  write_bytes(begin, zeroes().first(part));
  return part;
}

std::uint64_t Qcow1Layer::zero_in_place(GuestOffset begin, std::uint64_t length_bytes,
                                        bool may_unmap) {
  const ClusterMap::InPlaceRun run = metadata_.map().find_in_place(begin, length_bytes);
  write_zero_data(begin, run.host_offset, run.length_bytes, may_unmap);
  return run.length_bytes;
}

/// Gives whole clusters host clusters that hold zeroes.
std::uint64_t Qcow1Layer::allocate_zeroes(GuestOffset begin, GuestOffset end) {
  return allocate_and_move(
      begin, end, [&](const WritePlan& plan, GuestOffset run_begin, GuestOffset run_end) {
        // Also where nothing was ever written: the file has to reach behind its clusters.
        write_zero_data(run_begin, plan.host_of(run_begin), run_end - run_begin, true);
      });
}

/// Makes a compressed cluster unallocated. Returns its length, 0 if it has a host cluster by now.
std::uint64_t Qcow1Layer::unlink_compressed(GuestOffset cluster) {
  const GuestRangeLock::Holder range(ranges_, cluster, cluster + geometry_.cluster_size());
  std::uint64_t raw = 0;
  metadata_.map().read_entries(cluster, std::span(&raw, 1));
  const L2Mapping::Kind kind = metadata_.map().decode(raw, cluster).kind;
  if (kind == L2Mapping::Kind::data) return 0;
  if (kind == L2Mapping::Kind::compressed) {
    constexpr std::uint64_t kUnallocated = 0;
    std::size_t replaced = 0;
    metadata_.map().replace_entries(cluster, std::span(&kUnallocated, 1), replaced);
  }
  return geometry_.cluster_size();
}

}  // namespace qcowkit::qcow1
