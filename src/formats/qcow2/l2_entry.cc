#include "formats/qcow2/l2_entry.h"

#include <algorithm>

#include "formats/qcow2/limits.h"

namespace qcowkit::qcow2 {

namespace {

/// Bits of the host offset in a compressed cluster descriptor ("x" in the specification).
constexpr std::uint32_t compressed_offset_bits(const Geometry& g) noexcept {
  return 62 - (g.cluster_bits() - 8);
}

L2Mapping invalid(const char* reason) noexcept {
  L2Mapping mapping;
  mapping.kind = L2Mapping::Kind::invalid;
  mapping.what_is_wrong = reason;
  return mapping;
}

L2Mapping decode_compressed(RawL2Entry raw, const L2Rules& rules) noexcept {
  if (rules.data_file) return invalid("compressed cluster in an image with an external data file");
  const std::uint32_t offset_bits = compressed_offset_bits(rules.geometry);
  const std::uint64_t payload = raw.descriptor & (RawL2Entry::kCompressed - 1);
  const std::uint64_t offset = payload & ((std::uint64_t{1} << offset_bits) - 1);
  const std::uint64_t more_sectors = payload >> offset_bits;
  if (offset >= kHostOffsetEnd) return invalid("compressed cluster beyond 2^56");
  L2Mapping mapping;
  mapping.kind = L2Mapping::Kind::compressed;
  mapping.host_offset = {offset};
  mapping.compressed_bytes =
      static_cast<std::uint32_t>((more_sectors + 1) * kSectorBytes - offset % kSectorBytes);
  return mapping;
}

}  // namespace

L2Mapping L2Mapping::decode(RawL2Entry raw, const L2Rules& rules) noexcept {
  if ((raw.descriptor & RawL2Entry::kCompressed) != 0) return decode_compressed(raw, rules);

  const Geometry& g = rules.geometry;
  L2Mapping mapping;
  mapping.copied = (raw.descriptor & RawL2Entry::kCopied) != 0;
  mapping.host_offset = {raw.descriptor & RawL2Entry::kOffsetMask};
  mapping.has_host_cluster = mapping.host_offset.value != 0 || (rules.data_file && mapping.copied);
  if (g.in_cluster(mapping.host_offset.value) != 0) {
    return invalid("host offset is not a multiple of the cluster size");
  }
  if (g.extended_l2()) {
    mapping.allocated = static_cast<std::uint32_t>(raw.subcluster_bitmap);
    mapping.zero = static_cast<std::uint32_t>(raw.subcluster_bitmap >> 32);
    if ((mapping.allocated & mapping.zero) != 0) {
      return invalid("subcluster is both allocated and zero");
    }
    if (mapping.allocated != 0 && !mapping.has_host_cluster) {
      return invalid("subcluster is allocated without a host cluster");
    }
    return mapping;
  }
  const bool zero = (raw.descriptor & RawL2Entry::kZero) != 0;
  if (zero && !rules.zero_flag) return invalid("zero flag in a version 2 image");
  mapping.zero = zero ? 1 : 0;
  mapping.allocated = !zero && mapping.has_host_cluster ? 1 : 0;
  return mapping;
}

RawL2Entry L2Mapping::encode(const L2Rules& rules) const noexcept {
  RawL2Entry raw;
  if (has_host_cluster) raw.descriptor = host_offset.value;
  if (has_host_cluster && copied) raw.descriptor |= RawL2Entry::kCopied;
  if (rules.geometry.extended_l2()) {
    raw.subcluster_bitmap = std::uint64_t{zero} << 32 | allocated;
  } else if (zero != 0) {
    raw.descriptor |= RawL2Entry::kZero;
  }
  return raw;
}

RawL2Entry L2Mapping::encode_compressed(HostOffset host_offset, std::uint64_t bytes,
                                        const Geometry& g) noexcept {
  const std::uint64_t first_sector = host_offset.value / kSectorBytes;
  const std::uint64_t last_sector = (host_offset.value + bytes - 1) / kSectorBytes;
  return {RawL2Entry::kCompressed | (last_sector - first_sector) << compressed_offset_bits(g) |
              host_offset.value,
          0};
}

std::uint64_t L2Mapping::compressed_offset_end(const Geometry& g) noexcept {
  return std::min(kHostOffsetEnd, std::uint64_t{1} << compressed_offset_bits(g));
}

}  // namespace qcowkit::qcow2
