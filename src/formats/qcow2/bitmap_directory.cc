#include "formats/qcow2/bitmap_directory.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>

#include "base/checked.h"
#include "base/endian.h"
#include "formats/qcow2/limits.h"
#include "qcowkit/error.h"

namespace qcowkit::qcow2 {

namespace {

/// An entry's fixed part (qcow2 spec, Bitmap directory).
struct RawBitmapEntry {
  be64 bitmap_table_offset;
  be32 bitmap_table_size;
  be32 flags;
  std::uint8_t type;
  std::uint8_t granularity_bits;
  be16 name_size;
  be32 extra_data_size;
};
static_assert(sizeof(RawBitmapEntry) == 24 && alignof(RawBitmapEntry) == 1);
static_assert(std::is_trivially_copyable_v<RawBitmapEntry>);
static_assert(offsetof(RawBitmapEntry, type) == 16);

constexpr std::uint32_t kInUse = 1u << 0;
constexpr std::uint32_t kAutomatic = 1u << 1;
constexpr std::uint32_t kExtraDataCompatible = 1u << 2;
constexpr std::uint32_t kKnownFlags = kInUse | kAutomatic | kExtraDataCompatible;
constexpr std::uint8_t kDirtyTracking = 1;
constexpr std::size_t kEntryAlignment = 8;

void require(bool holds, std::size_t index, std::string_view field, std::uint64_t value,
             std::string_view expectation, Errc code = Errc::corrupt) {
  if (holds) return;
  throw Error(code, fmt::format("bitmap directory: entry {}: {} is {}, expected {}", index, field,
                                value, expectation));
}

/// Reads a structure that must lie in the file whole.
std::vector<std::byte> read_whole(Storage& storage, std::string_view what, HostOffset offset,
                                  std::uint64_t bytes) {
  const std::uint64_t file_bytes = storage.size();
  if (offset.value > file_bytes || bytes > file_bytes - offset.value) {
    throw Error(Errc::corrupt,
                fmt::format("{}: {} bytes at {}, expected to end in the file of {} bytes", what,
                            bytes, offset.value, file_bytes));
  }
  std::vector<std::byte> all(bytes);
  storage.read(offset.value, all);
  return all;
}

void check_fixed_part(const RawBitmapEntry& raw, std::size_t index, const Geometry& g) {
  require((raw.flags & ~kKnownFlags) == 0, index, "flags", raw.flags, "bits 3 to 31 clear");
  require(raw.type == kDirtyTracking, index, "type", raw.type, "1 (dirty tracking bitmap)",
          Errc::unsupported);
  require(raw.granularity_bits >= kBitmapGranularityBitsMin &&
              raw.granularity_bits <= kBitmapGranularityBitsMax,
          index, "granularity_bits", raw.granularity_bits,
          fmt::format("{} to {}", kBitmapGranularityBitsMin, kBitmapGranularityBitsMax),
          raw.granularity_bits > 63 ? Errc::corrupt : Errc::limit_exceeded);
  require(raw.name_size != 0, index, "name_size", raw.name_size, "at least 1");
  require(raw.name_size <= kBitmapNameBytesMax, index, "name_size", raw.name_size,
          fmt::format("at most {}", kBitmapNameBytesMax), Errc::limit_exceeded);
  require(raw.bitmap_table_size <= kBitmapTableEntriesMax, index, "bitmap_table_size",
          raw.bitmap_table_size, fmt::format("at most {}", kBitmapTableEntriesMax),
          Errc::limit_exceeded);
  require(g.in_cluster(raw.bitmap_table_offset) == 0, index, "bitmap_table_offset",
          raw.bitmap_table_offset,
          fmt::format("a multiple of the cluster size {}", g.cluster_size()));
  require(raw.bitmap_table_size == 0 || raw.bitmap_table_offset != 0, index, "bitmap_table_offset",
          raw.bitmap_table_offset, "a place behind the header");
}

/// A bitmap in use may have another size: the disk may have been resized since it was saved.
void check_table_size(const BitmapEntry& entry, std::size_t index, const Header& header) {
  const std::uint64_t needed =
      bitmap_table_entries_for(header.size, entry.granularity_bits, header.geometry());
  require(entry.in_use || entry.table_entries == needed, index, "bitmap_table_size",
          entry.table_entries, fmt::format("{} for the size {}", needed, header.size));
}

BitmapEntry decode_entry(const RawBitmapEntry& raw, std::span<const std::byte> variable) {
  BitmapEntry entry;
  entry.table_offset = {raw.bitmap_table_offset};
  entry.table_entries = raw.bitmap_table_size;
  entry.in_use = (raw.flags & kInUse) != 0;
  entry.automatic = (raw.flags & kAutomatic) != 0;
  entry.extra_data_compatible = (raw.flags & kExtraDataCompatible) != 0;
  entry.granularity_bits = raw.granularity_bits;
  const auto extra_data = variable.first(raw.extra_data_size);
  entry.extra_data.assign(extra_data.begin(), extra_data.end());
  const auto name = variable.subspan(raw.extra_data_size, raw.name_size);
  entry.name.resize(name.size());
  std::memcpy(entry.name.data(), name.data(), name.size());
  return entry;
}

/// Decodes the entry at the start of `bytes` and takes it off.
BitmapEntry take_entry(std::span<const std::byte>& bytes, std::size_t index, const Header& header) {
  require(bytes.size() >= sizeof(RawBitmapEntry), index, "bytes left in the directory",
          bytes.size(), fmt::format("at least {}", sizeof(RawBitmapEntry)));
  RawBitmapEntry raw;
  std::memcpy(&raw, bytes.data(), sizeof raw);
  bytes = bytes.subspan(sizeof raw);
  check_fixed_part(raw, index, header.geometry());

  const std::uint64_t used = std::uint64_t{raw.extra_data_size} + raw.name_size;
  const std::uint64_t padded = align_up(used, kEntryAlignment);  // the fixed part is a multiple
  require(padded <= bytes.size(), index, "size of extra data and name", used,
          fmt::format("at most the {} bytes left in the directory", bytes.size()));
  const auto padding = bytes.first(padded).subspan(used);
  require(std::ranges::all_of(padding, [](std::byte b) { return b == std::byte{0}; }), index,
          "padding", padding.size(), "bytes of zeroes");
  BitmapEntry entry = decode_entry(raw, bytes.first(used));
  require(entry.name.find('\0') == std::string::npos, index, "first zero byte of the name",
          entry.name.find('\0'), "no zero byte");
  bytes = bytes.subspan(padded);
  check_table_size(entry, index, header);
  return entry;
}

}  // namespace

std::uint64_t bitmap_table_entries_for(std::uint64_t virtual_size_bytes,
                                       std::uint32_t granularity_bits, const Geometry& geometry) {
  const std::uint64_t bits =
      divide_round_up(virtual_size_bytes, std::uint64_t{1} << granularity_bits);
  return geometry.clusters_for(divide_round_up(bits, std::uint64_t{8}));
}

std::vector<BitmapEntry> read_bitmap_directory(Storage& storage, const Header& header) {
  if (!header.bitmaps) return {};
  const BitmapsExtension& extension = *header.bitmaps;
  const std::vector<std::byte> directory =
      read_whole(storage, "bitmap directory", extension.bitmap_directory_offset,
                 extension.bitmap_directory_size);
  std::span<const std::byte> bytes = directory;
  std::vector<BitmapEntry> entries;
  std::set<std::string> names;
  for (std::size_t i = 0; i < extension.nb_bitmaps; ++i) {
    entries.push_back(take_entry(bytes, i, header));
    require(names.insert(entries.back().name).second, i, "number of entries of the same name", 2,
            "1");
  }
  if (!bytes.empty()) {
    throw Error(Errc::corrupt,
                fmt::format("bitmap directory: {} bytes follow the {} entries, expected none",
                            bytes.size(), extension.nb_bitmaps));
  }
  return entries;
}

std::vector<std::byte> encode_bitmap_directory(std::span<const BitmapEntry> entries) {
  std::vector<std::byte> directory;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const BitmapEntry& entry = entries[i];
    require(entry.name.size() <= kBitmapNameBytesMax, i, "name_size", entry.name.size(),
            fmt::format("at most {}", kBitmapNameBytesMax), Errc::limit_exceeded);
    RawBitmapEntry raw;
    raw.bitmap_table_offset = entry.table_offset.value;
    raw.bitmap_table_size = entry.table_entries;
    raw.flags = (entry.in_use ? kInUse : 0) | (entry.automatic ? kAutomatic : 0) |
                (entry.extra_data_compatible ? kExtraDataCompatible : 0);
    raw.type = kDirtyTracking;
    raw.granularity_bits = static_cast<std::uint8_t>(entry.granularity_bits);
    raw.name_size = static_cast<std::uint16_t>(entry.name.size());
    raw.extra_data_size = static_cast<std::uint32_t>(entry.extra_data.size());
    const auto append = [&](std::span<const std::byte> bytes) {
      directory.insert(directory.end(), bytes.begin(), bytes.end());
    };
    append(std::as_bytes(std::span(&raw, 1)));
    append(entry.extra_data);
    append(std::as_bytes(std::span(entry.name)));
    directory.resize(align_up(directory.size(), kEntryAlignment));
  }
  if (entries.size() > kBitmapsMax || directory.size() > kBitmapDirectoryBytesMax) {
    throw Error(
        Errc::limit_exceeded,
        fmt::format("bitmap directory: {} entries of {} bytes, expected at most {} of {}",
                    entries.size(), directory.size(), kBitmapsMax, kBitmapDirectoryBytesMax));
  }
  return directory;
}

std::vector<BitmapTableEntry> read_bitmap_table(Storage& storage, const BitmapEntry& bitmap,
                                                const Geometry& geometry) {
  const std::vector<std::byte> bytes =
      read_whole(storage, fmt::format("table of bitmap '{}'", bitmap.name), bitmap.table_offset,
                 std::uint64_t{bitmap.table_entries} * 8);
  std::vector<BitmapTableEntry> entries;
  entries.reserve(bitmap.table_entries);
  for (std::size_t i = 0; i < bitmap.table_entries; ++i) {
    const BitmapTableEntry entry(load_big_endian<std::uint64_t>(bytes.data() + i * 8));
    if (!entry.is_valid(geometry)) {
      throw Error(Errc::corrupt,
                  fmt::format("table of bitmap '{}': entry {} is 0x{:x}, expected a multiple of "
                              "the cluster size {}, 0 or 1",
                              bitmap.name, i, entry.raw(), geometry.cluster_size()));
    }
    entries.push_back(entry);
  }
  return entries;
}

std::vector<std::byte> encode_bitmap_table(std::span<const BitmapTableEntry> entries) {
  std::vector<std::byte> bytes(entries.size() * 8);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    store_big_endian(bytes.data() + i * 8, entries[i].raw());
  }
  return bytes;
}

}  // namespace qcowkit::qcow2
