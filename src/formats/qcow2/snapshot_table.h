// The snapshot table: the directory of all internal snapshots (qcow2 spec, Snapshots). No locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/offsets.h"
#include "formats/qcow2/header.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

struct SnapshotEntry {
  HostOffset l1_table_offset{};
  std::uint32_t l1_size = 0;  ///< entries
  std::string id;
  std::string name;
  std::uint32_t date_seconds = 0;      ///< since the Epoch
  std::uint32_t date_nanoseconds = 0;  ///< the date's part below a second
  std::uint64_t vm_clock_nanoseconds = 0;
  std::uint64_t vm_state_size_bytes = 0;
  /// Where the entry does not tell: the image's size.
  std::uint64_t disk_size_bytes = 0;
  std::optional<std::uint64_t> icount;
  /// Extra data behind the fields above, kept as it is.
  std::vector<std::byte> unknown_extra_data;
  /// As found (`encode_snapshot_table` writes all fields). Version 3 images must have at least
  /// `kSnapshotExtraDataBytesVersion3`.
  std::uint32_t extra_data_bytes = 0;

  friend bool operator==(const SnapshotEntry&, const SnapshotEntry&) = default;
};

inline constexpr std::uint32_t kSnapshotExtraDataBytesVersion3 = 16;

struct SnapshotTable {
  std::vector<SnapshotEntry> entries;
  std::uint64_t size_bytes = 0;  ///< of the table in the file
};

/// Reads the table that the header names (an empty one without I/O). Throws `Error`: corrupt or
/// limit_exceeded (naming entry, field, value and expectation), I/O errors.
///
/// `for_check` does not look at the entries' L1 table offsets and sizes, so that all else can be
/// told of a damaged image; `check_l1_table` does that before a table is followed.
SnapshotTable read_snapshot_table(Storage& storage, const Header& header, bool for_check = false);

/// Throws `Error` (corrupt or limit_exceeded) unless the snapshot's L1 table lies behind the
/// header, aligned, within the limits, and covers the snapshot's disk. `index` is the entry's
/// place, for the message.
void check_l1_table(const SnapshotEntry& entry, std::size_t index, const Geometry& geometry);

/// The table's bytes. Throws `Error` (limit_exceeded) if the table, an id or a name gets too long.
std::vector<std::byte> encode_snapshot_table(std::span<const SnapshotEntry> entries);

}  // namespace qcowkit::qcow2
