// A bitmap's bits on their way from and to the file (qcow2 spec, Bitmap table and Bitmap data).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "formats/qcow2/bitmap_bits.h"
#include "formats/qcow2/bitmap_directory.h"
#include "formats/qcow2/metadata.h"
#include "formats/reservation.h"

namespace qcowkit::qcow2 {

/// Host clusters that nothing durable points at yet: given back unless they are committed.
using Reservations = std::vector<Reservation<Metadata>>;

/// Throws `Error` if a disk of this size cannot have a bitmap of this granularity: limit_exceeded
/// where it would take too much memory, unsupported.
void require_bitmap_fits(std::uint64_t disk_bytes, std::uint32_t granularity_bits);

/// Reads what the bitmap has noted. `data_bytes_left` is how much more data the bitmaps of this
/// image can have at most; the bytes read are taken off. Throws `Error`: corrupt, limit_exceeded,
/// I/O errors.
std::unique_ptr<BitmapBits> read_bitmap_bits(Storage& storage, const BitmapEntry& bitmap,
                                             const Header& header, std::uint64_t& data_bytes_left);

/// Writes the bits to new clusters and makes `bitmap` say where their table lies. The clusters are
/// added to `reservations`: nothing durable points at them yet.
void write_bitmap_bits(Metadata& metadata, const BitmapBits& bits, BitmapEntry& bitmap,
                       Reservations& reservations);

/// The host clusters of the bitmap's table and data. What cannot be read is left out.
std::vector<HostRange> clusters_of_bitmap(Storage& storage, const BitmapEntry& bitmap,
                                          const Geometry& geometry);

}  // namespace qcowkit::qcow2
