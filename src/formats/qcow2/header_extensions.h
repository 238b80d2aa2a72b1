// The header extension area (qcow2 spec, Header extensions): its framing, and the feature name
// table. No I/O, no locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

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
