#include "formats/qcow2/bitmap_data.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/buffer.h"
#include "base/checked.h"
#include "formats/qcow2/limits.h"

namespace qcowkit::qcow2 {

namespace {

/// The part of the data that a table entry stands for; the last cluster may be used in part.
std::uint64_t used_bytes(const BitmapBits& bits, std::size_t entry, const Geometry& g) {
  const std::uint64_t data_bytes = align_up(bits.data_bytes(), sizeof(std::uint64_t));
  return std::min(g.cluster_size(), data_bytes - entry * g.cluster_size());
}

/// Entries for clusters without data of their own; the others' indices are added to `mixed`.
std::vector<BitmapTableEntry> plan_table(const BitmapBits& bits, std::uint64_t entries,
                                         const Geometry& g, std::vector<std::size_t>& mixed) {
  std::vector<BitmapTableEntry> table(entries);
  for (std::size_t i = 0; i < entries; ++i) {
    const BitmapBits::Content content = bits.content_of(i * g.cluster_size(), g.cluster_size());
    table[i] = BitmapTableEntry::all(content == BitmapBits::Content::ones);
    if (content == BitmapBits::Content::mixed) mixed.push_back(i);
  }
  return table;
}

}  // namespace

void require_bitmap_fits(std::uint64_t disk_bytes, std::uint32_t granularity_bits) {
  if (disk_bytes == 0) {
    // The reference opens no image that has one.
    throw Error(Errc::unsupported, "A disk without a single byte cannot have bitmaps");
  }
  const std::uint64_t granules = divide_round_up(disk_bytes, std::uint64_t{1} << granularity_bits);
  if (divide_round_up<std::uint64_t>(granules, 8) <= kBitmapDataBytesMax) return;
  throw Error(Errc::limit_exceeded,
              "Too much space will be occupied by the bitmap. Use larger granularity");
}

std::unique_ptr<BitmapBits> read_bitmap_bits(Storage& storage, const BitmapEntry& bitmap,
                                             const Header& header, std::uint64_t& data_bytes_left) {
  const Geometry g = header.geometry();
  require_bitmap_fits(header.size, bitmap.granularity_bits);
  auto bits = std::make_unique<BitmapBits>(header.size, bitmap.granularity_bits);
  const std::vector<BitmapTableEntry> table = read_bitmap_table(storage, bitmap, g);
  Buffer cluster(g.cluster_size());
  for (std::size_t i = 0; i < table.size(); ++i) {
    const std::uint64_t first_byte = i * g.cluster_size();
    if (!table[i].has_cluster()) {
      if (table[i].is_all_ones()) bits->add_ones(first_byte, g.cluster_size());
      continue;
    }
    // Clusters that are not shared fit into the file: more was made to fill our memory.
    if (data_bytes_left < g.cluster_size()) {
      throw Error(
          Errc::corrupt,
          fmt::format("table of bitmap '{}': entry {}: the bitmaps have more data than fits "
                      "into the file",
                      bitmap.name, i));
    }
    data_bytes_left -= g.cluster_size();
    const auto used = cluster.span().first(used_bytes(*bits, i, g));
    storage.read(table[i].host_offset().value, used);
    bits->add_bytes(first_byte, used);
  }
  bits->note_stored();
  return bits;
}

void write_bitmap_bits(Metadata& metadata, const BitmapBits& bits, BitmapEntry& bitmap,
                       Reservations& reservations) {
  const Geometry& g = metadata.geometry();
  const std::uint64_t entries = g.clusters_for(bits.data_bytes());
  std::vector<std::size_t> mixed;
  std::vector<BitmapTableEntry> table = plan_table(bits, entries, g, mixed);
  Buffer cluster(g.cluster_size());
  for (std::size_t i = 0; i < mixed.size();) {
    const HostRun run = metadata.allocate(mixed.size() - i);
    reservations.emplace_back(metadata, run.host_offset, run.clusters * g.cluster_size());
    for (std::uint64_t c = 0; c < run.clusters; ++c, ++i) {
      const HostOffset place = run.host_offset + c * g.cluster_size();
      bits.copy_bytes(mixed[i] * g.cluster_size(), cluster.span());
      metadata.storage().write(place.value, cluster.span());
      table[mixed[i]] = BitmapTableEntry::cluster(place);
    }
  }
  bitmap.table_entries = static_cast<std::uint32_t>(entries);
  bitmap.table_offset = {};
  if (entries == 0) return;
  const std::vector<std::byte> raw = encode_bitmap_table(table);
  bitmap.table_offset = metadata.write_table(raw);
  reservations.emplace_back(metadata, bitmap.table_offset,
                            g.clusters_for(raw.size()) * g.cluster_size());
}

std::vector<HostRange> clusters_of_bitmap(Storage& storage, const BitmapEntry& bitmap,
                                          const Geometry& geometry) {
  std::vector<HostRange> clusters;
  if (bitmap.table_entries == 0) return clusters;
  clusters.push_back({bitmap.table_offset, std::uint64_t{bitmap.table_entries} * 8});
  try {
    for (const BitmapTableEntry entry : read_bitmap_table(storage, bitmap, geometry)) {
      if (entry.has_cluster()) clusters.push_back({entry.host_offset(), geometry.cluster_size()});
    }
  } catch (const Error&) {
    // What a damaged table refers to leaks, which `check` mends.
  }
  return clusters;
}

}  // namespace qcowkit::qcow2
