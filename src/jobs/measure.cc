// How large an image would be: the format's arithmetic, without making one.
#include <algorithm>
#include <bit>

#include "base/checked.h"
#include "base/sector.h"
#include "crypto/luks.h"
#include "formats/qcow2/geometry.h"
#include "formats/qcow2/limits.h"
#include "jobs/extent_walk.h"
#include "qcowkit/jobs.h"

namespace qcowkit {

namespace {

using qcow2::Geometry;

constexpr std::uint64_t kDefaultClusterBytes = 65536;

Geometry geometry_for(const CreateOptions& target) {
  const std::uint64_t cluster_bytes =
      target.cluster_size_bytes == 0 ? kDefaultClusterBytes : target.cluster_size_bytes;
  const auto cluster_bits = static_cast<std::uint32_t>(std::countr_zero(cluster_bytes));
  if (!std::has_single_bit(cluster_bytes) || cluster_bits < qcow2::kClusterBitsMin ||
      cluster_bits > qcow2::kClusterBitsMax) {
    throw Error(Errc::invalid_argument,
                "Cluster size must be a power of two between 512 and 2048k");
  }
  const auto refcount_order = static_cast<std::uint32_t>(std::countr_zero(target.refcount_bits));
  if (!std::has_single_bit(target.refcount_bits) || refcount_order > qcow2::kRefcountOrderMax) {
    throw Error(Errc::invalid_argument,
                "Refcount width must be a power of two and may not exceed 64 bits");
  }
  if (target.version < 3 && target.refcount_bits != 16) {
    throw Error(Errc::invalid_argument,
                "Different refcount widths than 16 bits require compatibility level 1.1 or above "
                "(use compat=1.1 or greater)");
  }
  if (target.extended_l2 && cluster_bits < qcow2::kExtendedL2ClusterBitsMin) {
    throw Error(
        Errc::invalid_argument,
        "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes");
  }
  return {cluster_bits, refcount_order, target.extended_l2};
}

/// Clusters for the refcounts of `clusters` others: refcount blocks and the table that lists them,
/// which are counted, too.
std::uint64_t refcount_clusters(const Geometry& geometry, std::uint64_t clusters) {
  std::uint64_t needed = 0;
  for (;;) {
    const std::uint64_t blocks =
        divide_round_up(clusters + needed, geometry.refcount_block_entries());
    const std::uint64_t table =
        divide_round_up(blocks, geometry.refcount_table_entries_per_cluster());
    if (blocks + table == needed) return needed;
    needed = blocks + table;
  }
}

/// How many of the target's clusters hold something of the source other than zeroes.
std::uint64_t data_clusters(Image& source, const Geometry& geometry) {
  std::uint64_t clusters = 0;
  std::uint64_t counted_to = 0;  // guest offset, a multiple of the cluster size
  ExtentWalk walk(source, HoleSearch::as_reference);
  const std::uint64_t size = source.virtual_size();
  for (std::uint64_t at = 0; at < size;) {
    const StoredRun run = walk.at(at);
    const std::uint64_t end = at + run.length_bytes;
    if (!run.reads_as_zeroes()) {
      const std::uint64_t first = std::max(counted_to, geometry.cluster_start(at));
      const std::uint64_t last = align_up(end, geometry.cluster_size());
      if (last > first) clusters += geometry.clusters_for(last - first);
      counted_to = std::max(counted_to, last);
    }
    at = end;
  }
  return clusters;
}

/// What the source's bitmaps take in the target, where they can be copied: the target keeps their
/// granularity.
std::optional<std::uint64_t> bitmaps_bytes(const CreateOptions& target, const Image* source,
                                           const Geometry& geometry) {
  if (source == nullptr || target.version < 3) return std::nullopt;
  const ImageInfo info = source->info();
  if (!info.qcow2 || info.qcow2->version < 3) return std::nullopt;
  constexpr std::uint64_t kDirectoryEntryBytes = 24;  // qcow2 spec, Bitmap directory
  std::uint64_t clusters = 0;
  std::uint64_t directory_bytes = 0;
  for (const BitmapInfo& bitmap : info.qcow2->bitmaps) {
    const std::uint64_t bits = divide_round_up(source->virtual_size(), bitmap.granularity_bytes);
    const std::uint64_t data = geometry.clusters_for(divide_round_up(bits, std::uint64_t{8}));
    clusters += data + geometry.clusters_for(data * sizeof(std::uint64_t));
    directory_bytes += align_up(kDirectoryEntryBytes + bitmap.name.size(), 8);
  }
  return (clusters + geometry.clusters_for(directory_bytes)) * geometry.cluster_size();
}

Measurement measure_qcow2(const CreateOptions& target, std::uint64_t virtual_size, Image* source) {
  const Geometry geometry = geometry_for(target);
  // A table of this size is what every reader refuses.
  const bool fits =
      virtual_size <= qcow2::kVirtualSizeMax &&
      geometry.l1_entries_for(virtual_size) <= qcow2::kL1TableBytesMax / sizeof(std::uint64_t);
  if (!fits) {
    throw Error(Errc::invalid_argument,
                "The image size is too large (try using a larger cluster size)");
  }
  const std::uint64_t guest_clusters = geometry.clusters_for(virtual_size);
  const std::uint64_t l2_tables = geometry.l1_entries_for(virtual_size);
  const std::uint64_t l1_clusters = geometry.clusters_for(l2_tables * sizeof(std::uint64_t));
  const std::uint64_t luks_bytes =
      target.encryption == EncryptionFormat::luks ? crypto::luks_header_bytes(target.luks) : 0;
  const std::uint64_t header_clusters = 1 + geometry.clusters_for(luks_bytes);
  // Room for the refcounts of a full disk is counted from the start.
  const std::uint64_t tables = header_clusters + l1_clusters + l2_tables;
  const std::uint64_t metadata = tables + refcount_clusters(geometry, tables + guest_clusters);

  // With a backing file it is not known what the source's zeroes will need.
  const bool is_full = target.preallocation == Preallocation::falloc ||
                       target.preallocation == Preallocation::full ||
                       (source != nullptr && !target.backing_file.empty());
  std::uint64_t data = 0;
  if (is_full) {
    data = guest_clusters;
  } else if (source != nullptr) {
    data = data_clusters(*source, geometry);
  }
  return {.required_bytes = (metadata + data) * geometry.cluster_size(),
          .fully_allocated_bytes = (metadata + guest_clusters) * geometry.cluster_size(),
          .bitmaps_bytes = bitmaps_bytes(target, source, geometry)};
}

}  // namespace

Measurement measure(const CreateOptions& target, Image* source) {
  if (source == nullptr && !target.size_bytes) {
    throw Error(Errc::invalid_argument, "Measuring needs a source image or a size");
  }
  const std::uint64_t virtual_size =
      source != nullptr ? source->virtual_size() : *target.size_bytes;
  if (target.format == "qcow2") return measure_qcow2(target, virtual_size, source);
  if (target.format == "raw" || target.format == "luks") {
    std::uint64_t bytes = divide_round_up(virtual_size, kSectorBytes) * kSectorBytes;
    if (target.format == "luks") bytes += crypto::luks_header_bytes(target.luks);
    return {.required_bytes = bytes, .fully_allocated_bytes = bytes, .bitmaps_bytes = {}};
  }
  throw Error(Errc::unsupported,
              "Block driver '" + target.format + "' does not support size measurement");
}

}  // namespace qcowkit
