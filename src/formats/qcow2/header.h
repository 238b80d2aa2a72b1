// The image header and its extensions (qcow2 spec, Header and Header extensions). No I/O, no locks.
// Decoded in header.cc, encoded in header_encode.cc.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/endian.h"
#include "base/offsets.h"
#include "formats/qcow2/geometry.h"
#include "formats/qcow2/header_extensions.h"
#include "qcowkit/image.h"

namespace qcowkit::qcow2 {

/// The header's bytes. Field names are the specification's. Version 2 ends after
/// `snapshots_offset`.
struct RawHeader {
  std::array<std::byte, 4> magic;  ///< "QFI\xfb"
  be32 version;
  be64 backing_file_offset;
  be32 backing_file_size;
  be32 cluster_bits;
  be64 size;
  be32 crypt_method;
  be32 l1_size;
  be64 l1_table_offset;
  be64 refcount_table_offset;
  be32 refcount_table_clusters;
  be32 nb_snapshots;
  be64 snapshots_offset;
  be64 incompatible_features;
  be64 compatible_features;
  be64 autoclear_features;
  be32 refcount_order;
  be32 header_length;
  std::uint8_t compression_type;
  std::array<std::byte, 7> padding;
};
static_assert(sizeof(RawHeader) == 112 && alignof(RawHeader) == 1);
static_assert(std::is_trivially_copyable_v<RawHeader>);
static_assert(offsetof(RawHeader, l1_table_offset) == 40);
static_assert(offsetof(RawHeader, incompatible_features) == 72);
static_assert(offsetof(RawHeader, compression_type) == 104);

/// "QFI\xfb"
inline constexpr std::array<std::byte, 4> kMagic{std::byte{'Q'}, std::byte{'F'}, std::byte{'I'},
                                                 std::byte{0xfb}};
inline constexpr std::uint32_t kHeaderBytesV2 = 72;
inline constexpr std::uint32_t kHeaderBytesV3Min = 104;

/// Values of `crypt_method` (qcow2 spec, Header).
namespace crypt_method {
inline constexpr std::uint32_t kNone = 0;
inline constexpr std::uint32_t kAes = 1;
inline constexpr std::uint32_t kLuks = 2;
}  // namespace crypt_method

/// Feature bits (qcow2 spec, Header).
namespace incompatible {
inline constexpr std::uint64_t kDirty = 1u << 0;
inline constexpr std::uint64_t kCorrupt = 1u << 1;
inline constexpr std::uint64_t kDataFile = 1u << 2;
inline constexpr std::uint64_t kCompressionType = 1u << 3;
inline constexpr std::uint64_t kExtendedL2 = 1u << 4;
inline constexpr std::uint64_t kKnown = 0x1f;
}  // namespace incompatible
namespace compatible {
inline constexpr std::uint64_t kLazyRefcounts = 1u << 0;
}  // namespace compatible
namespace autoclear {
inline constexpr std::uint64_t kBitmaps = 1u << 0;
inline constexpr std::uint64_t kDataFileRaw = 1u << 1;
inline constexpr std::uint64_t kKnown = 0x3;
}  // namespace autoclear

/// Where the bitmap directory lies (qcow2 spec, Bitmaps extension).
struct BitmapsExtension {
  std::uint32_t nb_bitmaps;
  std::uint64_t bitmap_directory_size;
  HostOffset bitmap_directory_offset;
};

/// Where the encryption header lies (qcow2 spec, Full disk encryption header pointer).
struct EncryptionExtension {
  HostOffset offset;
  std::uint64_t length;  ///< bytes
};

/// A header that has been checked: every field is within the specification's and our limits, by
/// itself and together with the others. Whether tables lie inside the file is the opener's
/// business.
class Header {
 public:
  std::uint32_t version = 3;
  std::string backing_file;  ///< empty: none
  std::optional<std::string> backing_format;
  std::uint32_t cluster_bits = 16;
  std::uint64_t size = 0;
  std::uint32_t crypt_method = 0;
  std::uint32_t l1_size = 0;
  HostOffset l1_table_offset{};
  HostOffset refcount_table_offset{};
  std::uint32_t refcount_table_clusters = 0;
  std::uint32_t nb_snapshots = 0;
  HostOffset snapshots_offset{};
  std::uint64_t incompatible_features = 0;
  std::uint64_t compatible_features = 0;
  std::uint64_t autoclear_features = 0;
  std::uint32_t refcount_order = 4;
  CompressionType compression_type = CompressionType::deflate;
  std::optional<std::string> data_file;     ///< as stored; means something with `kDataFile` only
  std::optional<BitmapsExtension> bitmaps;  ///< if consistent, that is with `autoclear::kBitmaps`
  std::optional<EncryptionExtension> encryption;

  Geometry geometry() const noexcept {
    return {cluster_bits, refcount_order, has(incompatible::kExtendedL2)};
  }
  bool has(std::uint64_t incompatible_bit) const noexcept {
    return (incompatible_features & incompatible_bit) != 0;
  }
  bool lazy_refcounts() const noexcept {
    return (compatible_features & compatible::kLazyRefcounts) != 0;
  }
  bool data_file_raw() const noexcept {
    return (autoclear_features & autoclear::kDataFileRaw) != 0;
  }

  /// True if `bytes` begin with the magic and a version of at least 2. Versions after 3 count, so
  /// that they are refused by `decode` and not taken for raw data.
  static bool probe(std::span<const std::byte> bytes) noexcept;
  /// How many bytes from the file's start `decode` wants to see, given the file's first 112 bytes
  /// or more (or all of a shorter file): no more than `first_bytes` where what the header consists
  /// of ends in them, else the first cluster. Throws like `decode`.
  static std::uint64_t bytes_wanted(std::span<const std::byte> first_bytes);
  /// Decodes and checks the first cluster of a file (shorter where the file is). Throws `Error`:
  /// not_an_image, corrupt (naming field, value and expectation), limit_exceeded or unsupported
  /// (naming the feature as the image's feature name table does).
  ///
  /// `for_check` tolerates what a check can repair: a refcount table that is not there (then
  /// `refcount_table_clusters` is 0) or overlaps the L1 table.
  ///
  /// A bitmaps extension without its autoclear bit is dropped: its content cannot be trusted.
  static Header decode(std::span<const std::byte> first_cluster, bool for_check = false);

  /// The whole header area: header, extensions (the known ones, then the unknown ones byte for
  /// byte), backing file name. Unknown header fields are as they were. The rest of the first
  /// cluster is to be zero. Throws `Error` (invalid_argument) if it does not fit into a cluster.
  std::vector<std::byte> encode() const;

  /// A shorter form of the same header for one sector of 512 bytes: without feature names, the
  /// backing file name lying at `name_offset` instead. Nothing if it does not fit.
  std::optional<std::vector<std::byte>> encode_in_sector(std::uint64_t name_offset) const;

  /// The backing file name's place in the encoded header, 0 if there is none; known after `decode`
  /// or `encode`.
  std::uint64_t backing_file_offset() const noexcept { return backing_file_offset_; }

 private:
  RawHeader encode_fields() const;
  std::vector<std::byte> encode_without_name(bool with_feature_names) const;
  void append_extensions(std::vector<std::byte>& area, bool with_feature_names) const;
  void take_fields(const RawHeader& raw, bool for_check);
  void take_tables(const RawHeader& raw, bool for_check);
  void take_additional_fields(std::span<const std::byte> header_bytes);
  void take_extensions(std::vector<HeaderExtension> extensions);
  void take_extension(HeaderExtension&& extension);

  mutable std::uint64_t backing_file_offset_ = 0;
  /// Of version 3; as found, so that a header keeps its length.
  std::uint32_t header_length_ = sizeof(RawHeader);
  std::vector<std::byte> unknown_fields_;  // from `padding` to `header_length_`
  std::vector<HeaderExtension> unknown_extensions_;
  std::optional<std::vector<std::byte>> feature_names_;  // as found
  bool adds_feature_names_ = true;  // new images, and those that come from version 2, get ours
};

}  // namespace qcowkit::qcow2
