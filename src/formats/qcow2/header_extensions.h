// The header extension area (qcow2 spec, Header extensions): its framing, the bytes of the
// extensions with fields, and the feature name table. No I/O, no locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/endian.h"

namespace qcowkit::qcow2 {

/// Extension types (qcow2 spec, Header extensions).
namespace extension {
inline constexpr std::uint32_t kEnd = 0;
inline constexpr std::uint32_t kBackingFormat = 0xe2792aca;
inline constexpr std::uint32_t kFeatureNames = 0x6803f857;
inline constexpr std::uint32_t kBitmaps = 0x23852875;
inline constexpr std::uint32_t kEncryptionHeader = 0x0537be77;
inline constexpr std::uint32_t kDataFileName = 0x44415441;
}  // namespace extension

/// An extension as it lies in the file, known or not.
struct HeaderExtension {
  std::uint32_t type;
  std::vector<std::byte> data;
};

/// The bitmaps extension's bytes (qcow2 spec, Bitmaps extension).
struct RawBitmapsExtension {
  be32 nb_bitmaps;
  be32 reserved;
  be64 bitmap_directory_size;
  be64 bitmap_directory_offset;
};
static_assert(sizeof(RawBitmapsExtension) == 24 && alignof(RawBitmapsExtension) == 1);
static_assert(std::is_trivially_copyable_v<RawBitmapsExtension>);

/// qcow2 spec, Full disk encryption header pointer.
struct RawEncryptionExtension {
  be64 offset;
  be64 length;
};
static_assert(sizeof(RawEncryptionExtension) == 16 && alignof(RawEncryptionExtension) == 1);
static_assert(std::is_trivially_copyable_v<RawEncryptionExtension>);

/// Splits the area, which begins behind the header and ends where the backing file name or the
/// cluster does, into its extensions. The end marker, or less than 8 bytes being left, ends it.
/// `area_offset` is the area's place in the file, for messages. Throws `Error` (corrupt) if an
/// extension reaches past the area's end, or one that the specification knows is there twice.
std::vector<HeaderExtension> decode_extensions(std::span<const std::byte> area,
                                               std::uint64_t area_offset);

/// True if the area's end marker is in its first bytes, `area`.
bool has_end_marker(std::span<const std::byte> area) noexcept;

/// Appends one extension, padded with zeroes to a multiple of 8 bytes.
void append_extension(std::vector<std::byte>& area, std::uint32_t type,
                      std::span<const std::byte> data);

/// The features that the bits of `incompatible_features` stand for, separated by commas: by their
/// name in the table `feature_names` (the extension's data), else by their number.
std::string name_incompatible_features(std::uint64_t incompatible_features,
                                       std::span<const std::byte> feature_names);

/// The feature name table of new images: what the reference writes.
std::vector<std::byte> make_feature_names();

}  // namespace qcowkit::qcow2
