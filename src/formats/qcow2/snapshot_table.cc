#include "formats/qcow2/snapshot_table.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string_view>

#include "base/checked.h"
#include "base/endian.h"
#include "formats/qcow2/limits.h"
#include "qcowkit/error.h"

namespace qcowkit::qcow2 {

namespace {

/// An entry's fixed part (qcow2 spec, Snapshot table entry).
struct RawSnapshotEntry {
  be64 l1_table_offset;
  be32 l1_size;
  be16 id_size;
  be16 name_size;
  be32 date_seconds;
  be32 date_nanoseconds;
  be64 vm_clock_nanoseconds;
  be32 vm_state_size;
  be32 extra_data_size;
};
static_assert(sizeof(RawSnapshotEntry) == 40 && alignof(RawSnapshotEntry) == 1);
static_assert(std::is_trivially_copyable_v<RawSnapshotEntry>);
static_assert(offsetof(RawSnapshotEntry, vm_clock_nanoseconds) == 24);

/// The defined part of the extra data. A field counts if it is there whole.
struct RawSnapshotExtraData {
  be64 vm_state_size;
  be64 disk_size;
  be64 icount;
};
static_assert(sizeof(RawSnapshotExtraData) == 24 && alignof(RawSnapshotExtraData) == 1);
static_assert(std::is_trivially_copyable_v<RawSnapshotExtraData>);
static_assert(kSnapshotExtraDataBytesVersion3 == offsetof(RawSnapshotExtraData, icount));

constexpr std::uint64_t kNoIcount = ~std::uint64_t{0};
constexpr std::size_t kEntryAlignment = 8;
constexpr std::uint64_t kReadAtOnceBytes = 65536;

[[noreturn]] void refuse(Errc code, std::size_t index, std::string_view field, std::uint64_t value,
                         std::string_view expectation) {
  throw Error(code, fmt::format("snapshot table: entry {}: {} is {}, expected {}", index, field,
                                value, expectation));
}

/// The table's bytes as far as they have been asked for: its length is known at its end only.
class TableReader {
 public:
  TableReader(Storage& storage, HostOffset offset)
      : storage_(storage), offset_(offset), file_bytes_(storage.size()) {}

  /// `size` bytes from `begin` on, counted from the table's start; they belong to entry `index`.
  std::span<const std::byte> bytes(std::size_t begin, std::size_t size, std::size_t index) {
    const std::uint64_t end = begin + size;
    if (end > kSnapshotTableBytesMax) {
      refuse(Errc::limit_exceeded, index, "end in the table", end,
             fmt::format("at most {}", kSnapshotTableBytesMax));
    }
    if (offset_.value > file_bytes_ || end > file_bytes_ - offset_.value) {
      refuse(Errc::corrupt, index, "end in the file", offset_.value + end,
             fmt::format("at most the file's size {}", file_bytes_));
    }
    if (end > bytes_.size()) read_up_to(end);
    return std::span<const std::byte>(bytes_).subspan(begin, size);
  }

 private:
  /// And some more, so that there are few requests.
  void read_up_to(std::uint64_t end) {
    const std::size_t have = bytes_.size();
    const std::uint64_t wanted = std::max({end, std::uint64_t{have} * 2, kReadAtOnceBytes});
    bytes_.resize(std::min({wanted, kSnapshotTableBytesMax, file_bytes_ - offset_.value}));
    storage_.read(offset_.value + have, std::span(bytes_).subspan(have));
  }

  Storage& storage_;
  const HostOffset offset_;
  const std::uint64_t file_bytes_;
  std::vector<std::byte> bytes_;
};

std::string text(std::span<const std::byte> bytes) {
  std::string all(bytes.size(), '\0');
  if (!bytes.empty()) std::memcpy(all.data(), bytes.data(), bytes.size());
  return all;
}

void take_extra_data(SnapshotEntry& entry, std::span<const std::byte> bytes,
                     std::uint64_t image_size) {
  RawSnapshotExtraData raw{};
  std::memcpy(&raw, bytes.data(), std::min(bytes.size(), sizeof raw));
  if (bytes.size() >= offsetof(RawSnapshotExtraData, disk_size)) {
    entry.vm_state_size_bytes = raw.vm_state_size;
  }
  entry.disk_size_bytes = bytes.size() >= offsetof(RawSnapshotExtraData, icount)
                              ? std::uint64_t{raw.disk_size}
                              : image_size;
  if (bytes.size() >= sizeof raw) {
    if (raw.icount != kNoIcount) entry.icount = raw.icount;
    entry.unknown_extra_data.assign(bytes.begin() + sizeof raw, bytes.end());
  }
}

/// Decodes the entry at `at` and moves `at` behind it.
SnapshotEntry read_entry(TableReader& reader, std::size_t& at, std::size_t index,
                         std::uint64_t image_size) {
  RawSnapshotEntry raw;
  std::memcpy(&raw, reader.bytes(at, sizeof raw, index).data(), sizeof raw);
  if (raw.extra_data_size > kSnapshotExtraDataBytesMax) {
    refuse(Errc::limit_exceeded, index, "extra data size", raw.extra_data_size,
           fmt::format("at most {}", kSnapshotExtraDataBytesMax));
  }
  const std::size_t variable_bytes = std::size_t{raw.extra_data_size} + raw.id_size + raw.name_size;
  const auto variable = reader.bytes(at + sizeof raw, variable_bytes, index);
  at += align_up(sizeof raw + variable_bytes, kEntryAlignment);

  SnapshotEntry entry;
  entry.l1_table_offset = {raw.l1_table_offset};
  entry.l1_size = raw.l1_size;
  entry.date_seconds = raw.date_seconds;
  entry.date_nanoseconds = raw.date_nanoseconds;
  entry.vm_clock_nanoseconds = raw.vm_clock_nanoseconds;
  entry.vm_state_size_bytes = raw.vm_state_size;
  entry.extra_data_bytes = raw.extra_data_size;
  take_extra_data(entry, variable.first(raw.extra_data_size), image_size);
  entry.id = text(variable.subspan(raw.extra_data_size, raw.id_size));
  entry.name = text(variable.last(raw.name_size));
  return entry;
}

template <typename Raw>
void append(std::vector<std::byte>& to, const Raw& raw) {
  const auto bytes = std::as_bytes(std::span(&raw, 1));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void append_text(std::vector<std::byte>& to, const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void append_entry(std::vector<std::byte>& table, const SnapshotEntry& entry) {
  RawSnapshotEntry raw;
  raw.l1_table_offset = entry.l1_table_offset.value;
  raw.l1_size = entry.l1_size;
  raw.id_size = static_cast<std::uint16_t>(entry.id.size());
  raw.name_size = static_cast<std::uint16_t>(entry.name.size());
  raw.date_seconds = entry.date_seconds;
  raw.date_nanoseconds = entry.date_nanoseconds;
  raw.vm_clock_nanoseconds = entry.vm_clock_nanoseconds;
  // Readers that know the extra data ignore this field; for the others, what fits is told.
  const bool fits = entry.vm_state_size_bytes <= std::numeric_limits<std::uint32_t>::max();
  raw.vm_state_size = fits ? static_cast<std::uint32_t>(entry.vm_state_size_bytes) : 0;
  raw.extra_data_size =
      static_cast<std::uint32_t>(sizeof(RawSnapshotExtraData) + entry.unknown_extra_data.size());
  append(table, raw);
  append(table, RawSnapshotExtraData{entry.vm_state_size_bytes, entry.disk_size_bytes,
                                     entry.icount.value_or(kNoIcount)});
  table.insert(table.end(), entry.unknown_extra_data.begin(), entry.unknown_extra_data.end());
  append_text(table, entry.id);
  append_text(table, entry.name);
  table.resize(align_up(table.size(), kEntryAlignment));
}

void check_sizes(const SnapshotEntry& entry, std::size_t index) {
  constexpr std::size_t kTextBytesMax = std::numeric_limits<std::uint16_t>::max();
  const auto require_at_most = [&](std::size_t limit, std::string_view field, std::size_t value) {
    if (value > limit) {
      refuse(Errc::limit_exceeded, index, field, value, fmt::format("at most {}", limit));
    }
  };
  require_at_most(kTextBytesMax, "id size", entry.id.size());
  require_at_most(kTextBytesMax, "name size", entry.name.size());
  require_at_most(kSnapshotExtraDataBytesMax - sizeof(RawSnapshotExtraData), "extra data size",
                  entry.unknown_extra_data.size());
}

}  // namespace

SnapshotTable read_snapshot_table(Storage& storage, const Header& header, bool for_check) {
  SnapshotTable table;
  TableReader reader(storage, header.snapshots_offset);
  std::size_t at = 0;
  for (std::size_t i = 0; i < header.nb_snapshots; ++i) {
    table.entries.push_back(read_entry(reader, at, i, header.size));
    if (!for_check) check_l1_table(table.entries.back(), i, header.geometry());
  }
  table.size_bytes = at;
  return table;
}

void check_l1_table(const SnapshotEntry& entry, std::size_t index, const Geometry& geometry) {
  const std::uint64_t offset = entry.l1_table_offset.value;
  const std::uint64_t bytes = std::uint64_t{entry.l1_size} * 8;
  if (bytes > kL1TableBytesMax) {
    refuse(Errc::limit_exceeded, index, "L1 table size", entry.l1_size,
           fmt::format("at most {}", kL1TableBytesMax / 8));
  }
  if (geometry.in_cluster(offset) != 0) {
    refuse(Errc::corrupt, index, "L1 table offset", offset,
           fmt::format("a multiple of the cluster size {}", geometry.cluster_size()));
  }
  if (bytes != 0 && offset == 0) {
    refuse(Errc::corrupt, index, "L1 table offset", offset, "a place behind the header");
  }
  if (offset > kFileEnd - bytes) {
    refuse(Errc::corrupt, index, "L1 table offset", offset, "a place below 2^63");
  }
  if (entry.disk_size_bytes > kVirtualSizeMax) {
    refuse(Errc::limit_exceeded, index, "disk size", entry.disk_size_bytes,
           fmt::format("at most {}", kVirtualSizeMax));
  }
  const std::uint64_t needed = geometry.l1_entries_for(entry.disk_size_bytes);
  if (entry.l1_size < needed) {
    refuse(Errc::corrupt, index, "L1 table size", entry.l1_size,
           fmt::format("at least {} for the disk size {}", needed, entry.disk_size_bytes));
  }
}

std::vector<std::byte> encode_snapshot_table(std::span<const SnapshotEntry> entries) {
  if (entries.size() > kSnapshotsMax) {
    throw Error(Errc::limit_exceeded, fmt::format("snapshot table: {} entries, expected at most {}",
                                                  entries.size(), kSnapshotsMax));
  }
  std::vector<std::byte> table;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    check_sizes(entries[i], i);
    append_entry(table, entries[i]);
  }
  if (table.size() > kSnapshotTableBytesMax) {
    throw Error(Errc::limit_exceeded, fmt::format("snapshot table: {} bytes, expected at most {}",
                                                  table.size(), kSnapshotTableBytesMax));
  }
  return table;
}

}  // namespace qcowkit::qcow2
