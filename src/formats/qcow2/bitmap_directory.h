// The bitmap directory and the bitmap tables that it names (qcow2 spec, Bitmaps). No locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/offsets.h"
#include "formats/qcow2/header.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

/// A dirty tracking bitmap, the only type that there is.
struct BitmapEntry {
  HostOffset table_offset{};
  std::uint32_t table_entries = 0;
  bool in_use = false;     ///< was not saved: its data, also its size, may be outdated
  bool automatic = false;  ///< must follow every change of the disk
  /// Extra data is unknown to us. If it is there and this is false, the bitmap must not be used.
  bool extra_data_compatible = false;
  std::uint32_t granularity_bits = 16;
  std::string name;
  std::vector<std::byte> extra_data;

  std::uint64_t granularity_bytes() const noexcept { return std::uint64_t{1} << granularity_bits; }
  bool usable() const noexcept { return !in_use && (extra_data.empty() || extra_data_compatible); }

  friend bool operator==(const BitmapEntry&, const BitmapEntry&) = default;
};

/// One entry of a bitmap table: where a cluster of the bitmap's data lies, or what it reads as.
class BitmapTableEntry {
 public:
  static constexpr std::uint64_t kOffsetMask = 0x00fffffffffffe00;
  static constexpr std::uint64_t kAllOnes = 1;  // without an offset
  static constexpr std::uint64_t kReservedMask = 0xff000000000001fe;

  constexpr BitmapTableEntry() = default;
  constexpr explicit BitmapTableEntry(std::uint64_t raw) noexcept : raw_(raw) {}
  static constexpr BitmapTableEntry cluster(HostOffset o) noexcept {
    return BitmapTableEntry(o.value);
  }
  static constexpr BitmapTableEntry all(bool ones) noexcept {
    return BitmapTableEntry(ones ? kAllOnes : 0);
  }

  constexpr std::uint64_t raw() const noexcept { return raw_; }
  constexpr bool has_cluster() const noexcept { return (raw_ & kOffsetMask) != 0; }
  /// Where the data lies; meaningful if `has_cluster()`.
  constexpr HostOffset host_offset() const noexcept { return {raw_ & kOffsetMask}; }
  /// Without a cluster: every bit reads as this.
  constexpr bool is_all_ones() const noexcept { return (raw_ & kAllOnes) != 0; }
  /// No reserved bit is set and the offset is a multiple of the cluster size.
  constexpr bool is_valid(const Geometry& g) const noexcept {
    return (raw_ & kReservedMask) == 0 &&
           (!has_cluster() || (!is_all_ones() && g.in_cluster(host_offset().value) == 0));
  }

  friend constexpr bool operator==(BitmapTableEntry, BitmapTableEntry) = default;

 private:
  std::uint64_t raw_ = 0;
};

/// Entries that the table of a bitmap of this granularity needs.
std::uint64_t bitmap_table_entries_for(std::uint64_t virtual_size_bytes,
                                       std::uint32_t granularity_bits, const Geometry& geometry);

/// Reads the directory that the header names (an empty one without I/O). Throws `Error`: corrupt,
/// limit_exceeded or unsupported (naming entry, field, value and expectation), I/O errors.
std::vector<BitmapEntry> read_bitmap_directory(Storage& storage, const Header& header);

/// The directory's bytes. Throws `Error` (limit_exceeded) if it, or a name, gets too long.
std::vector<std::byte> encode_bitmap_directory(std::span<const BitmapEntry> entries);

/// Reads the bitmap's table. Throws `Error` (corrupt) if it lies beyond the file's end or an entry
/// is not valid, I/O errors.
std::vector<BitmapTableEntry> read_bitmap_table(Storage& storage, const BitmapEntry& bitmap,
                                                const Geometry& geometry);

std::vector<std::byte> encode_bitmap_table(std::span<const BitmapTableEntry> entries);

}  // namespace qcowkit::qcow2
