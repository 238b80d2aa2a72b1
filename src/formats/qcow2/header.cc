#include "formats/qcow2/header.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/checked.h"
#include "formats/qcow2/limits.h"
#include "qcowkit/error.h"

namespace qcowkit::qcow2 {

namespace {

constexpr std::size_t kMagicAndVersionBytes = 8;
constexpr std::uint32_t kVersion2RefcountOrder = 4;  // spec, Header

template <typename Value>
[[noreturn]] void refuse(Errc code, std::string_view field, Value value,
                         std::string_view expectation) {
  throw Error(code, fmt::format("header: {} is {}, expected {}", field, value, expectation));
}

void require(bool holds, std::string_view field, std::uint64_t value,
             std::string_view expectation) {
  if (!holds) refuse(Errc::corrupt, field, value, expectation);
}

void require_at_most(std::uint64_t limit, std::string_view field, std::uint64_t value) {
  if (value > limit) {
    refuse(Errc::limit_exceeded, field, value, fmt::format("at most {}", limit));
  }
}

/// Refuses what is no table of `length_bytes` behind the header cluster and within a file's range.
HostOffset table_at(std::string_view field, std::uint64_t offset, std::uint64_t length_bytes,
                    std::uint64_t cluster_size) {
  require(is_aligned(offset, cluster_size), field, offset,
          fmt::format("a multiple of the cluster size {}", cluster_size));
  require(length_bytes == 0 || offset != 0, field, offset, "a place behind the header");
  require(length_bytes <= kFileEnd && offset <= kFileEnd - length_bytes, field, offset,
          fmt::format("at most 2^63 less the table's {} bytes", length_bytes));
  return {offset};
}

void check_version(std::span<const std::byte> bytes) {
  if (bytes.size() < kMagicAndVersionBytes ||
      !std::ranges::equal(bytes.first(kMagic.size()), kMagic)) {
    throw Error(Errc::not_an_image, "header: magic is not \"QFI\\xfb\": not a QCOW2 image");
  }
  const auto version = load_big_endian<std::uint32_t>(bytes.data() + kMagic.size());
  if (version == 1) {
    throw Error(Errc::unsupported, "header: version is 1 (QCOW version 1), expected 2 or 3");
  }
  if (version != 2 && version != 3) {
    refuse(Errc::unsupported, "version", version, "2 or 3");
  }
}

/// The fixed fields; those that the version does not have are 0.
RawHeader load_fields(std::span<const std::byte> bytes) {
  check_version(bytes);
  RawHeader raw{};
  const auto version = load_big_endian<std::uint32_t>(bytes.data() + kMagic.size());
  const std::size_t needed = version == 2 ? kHeaderBytesV2 : kHeaderBytesV3Min;
  if (bytes.size() < needed) {
    throw Error(Errc::corrupt, fmt::format("header: file ends after {} bytes, expected at least {}",
                                           bytes.size(), needed));
  }
  std::memcpy(&raw, bytes.data(), needed);
  if (version == 2) {
    raw.refcount_order = kVersion2RefcountOrder;
    raw.header_length = kHeaderBytesV2;
  }
  if (raw.cluster_bits < kClusterBitsMin || raw.cluster_bits > kClusterBitsMax) {
    refuse(raw.cluster_bits < kClusterBitsMin ? Errc::corrupt : Errc::limit_exceeded,
           "cluster_bits", std::uint32_t{raw.cluster_bits},
           fmt::format("{} to {}", kClusterBitsMin, kClusterBitsMax));
  }
  return raw;
}

void check_header_length(const RawHeader& raw, std::size_t file_bytes) {
  if (raw.version == 2) return;
  const std::uint64_t cluster_size = std::uint64_t{1} << raw.cluster_bits;
  require(raw.header_length >= kHeaderBytesV3Min && raw.header_length <= cluster_size &&
              is_aligned(raw.header_length, 8),
          "header_length", raw.header_length,
          fmt::format("a multiple of 8 from {} to the cluster size {}", kHeaderBytesV3Min,
                      cluster_size));
  require(raw.header_length <= file_bytes, "header_length", raw.header_length,
          fmt::format("at most the file's size {}", file_bytes));
}

void check_backing_file(const RawHeader& raw, std::uint64_t end) {
  const std::uint64_t offset = raw.backing_file_offset;
  const std::uint64_t size = raw.backing_file_size;
  if (offset == 0) return;
  require(size >= 1 && size <= kBackingNameBytesMax, "backing_file_size", size,
          fmt::format("1 to {}", kBackingNameBytesMax));
  require(offset >= raw.header_length, "backing_file_offset", offset,
          fmt::format("a place behind the header's {} bytes", std::uint32_t{raw.header_length}));
  require(offset <= end && size <= end - offset, "backing_file_offset", offset,
          fmt::format("all {} bytes of the name within the first {} bytes of the file", size, end));
}

/// A string that is stored with its length. A zero byte would make readers disagree on its end.
std::string string_of(std::span<const std::byte> bytes, std::string_view what) {
  const auto nul = std::ranges::find(bytes, std::byte{0});
  if (nul != bytes.end()) {
    throw Error(Errc::corrupt, fmt::format("header: {} has a zero byte at {}, expected none", what,
                                           nul - bytes.begin()));
  }
  std::string text(bytes.size(), '\0');
  std::ranges::transform(bytes, text.begin(), [](std::byte b) { return static_cast<char>(b); });
  return text;
}

void refuse_unknown_features(std::uint64_t features, std::span<const std::byte> area,
                             std::uint64_t area_offset) {
  const std::uint64_t unknown = features & ~incompatible::kKnown;
  if (unknown == 0) return;
  std::vector<std::byte> names;
  try {
    for (HeaderExtension& e : decode_extensions(area, area_offset)) {
      if (e.type == extension::kFeatureNames) names = std::move(e.data);
    }
  } catch (const Error&) {
    // The features matter more than the area's damage, which may come from them: go by number.
  }
  throw Error(Errc::unsupported,
              fmt::format("header: incompatible_features has unknown features {}, expected none",
                          name_incompatible_features(unknown, names)));
}

CompressionType compression_of(std::uint8_t type, bool has_bit) {
  if (!has_bit) {
    require(type == 0, "compression_type", type,
            "0 without the incompatible feature \"compression type\"");
    return CompressionType::deflate;
  }
  require(type != 0, "compression_type", type,
          "another than 0 with the incompatible feature \"compression type\"");
  if (type != static_cast<std::uint8_t>(CompressionType::zstd)) {
    refuse(Errc::unsupported, "compression_type", type, "0 (deflate) or 1 (zstd)");
  }
  return CompressionType::zstd;
}

BitmapsExtension decode_bitmaps(std::span<const std::byte> data, std::uint64_t cluster_size) {
  require(data.size() == sizeof(RawBitmapsExtension), "length of the bitmaps extension",
          data.size(), fmt::format("{}", sizeof(RawBitmapsExtension)));
  RawBitmapsExtension raw;
  std::memcpy(&raw, data.data(), sizeof raw);
  require(raw.nb_bitmaps != 0, "nb_bitmaps", raw.nb_bitmaps, "at least 1");
  require_at_most(kBitmapsMax, "nb_bitmaps", raw.nb_bitmaps);
  require(raw.reserved == 0, "reserved field of the bitmaps extension", raw.reserved, "0");
  require(raw.bitmap_directory_size != 0, "bitmap_directory_size", raw.bitmap_directory_size,
          "at least 1");
  require_at_most(kBitmapDirectoryBytesMax, "bitmap_directory_size", raw.bitmap_directory_size);
  return {raw.nb_bitmaps, raw.bitmap_directory_size,
          table_at("bitmap_directory_offset", raw.bitmap_directory_offset,
                   raw.bitmap_directory_size, cluster_size)};
}

EncryptionExtension decode_encryption(std::span<const std::byte> data, std::uint64_t cluster_size) {
  require(data.size() == sizeof(RawEncryptionExtension), "length of the encryption extension",
          data.size(), fmt::format("{}", sizeof(RawEncryptionExtension)));
  RawEncryptionExtension raw;
  std::memcpy(&raw, data.data(), sizeof raw);
  require(raw.length != 0, "length of the encryption header", raw.length, "at least 1");
  return {table_at("offset of the encryption header", raw.offset, raw.length, cluster_size),
          raw.length};
}

/// True if the header, its extensions and the backing file's name end in `bytes`.
bool ends_inside(const RawHeader& raw, std::span<const std::byte> bytes) {
  if (raw.header_length > bytes.size()) return false;
  if (raw.backing_file_offset == 0) return has_end_marker(bytes.subspan(raw.header_length));
  return raw.backing_file_offset <= bytes.size() &&
         raw.backing_file_size <= bytes.size() - raw.backing_file_offset;
}

}  // namespace

bool Header::probe(std::span<const std::byte> bytes) noexcept {
  return bytes.size() >= kMagicAndVersionBytes &&
         std::ranges::equal(bytes.first(kMagic.size()), kMagic) &&
         load_big_endian<std::uint32_t>(bytes.data() + kMagic.size()) >= 2;
}

std::uint64_t Header::bytes_wanted(std::span<const std::byte> first_bytes) {
  const RawHeader raw = load_fields(first_bytes);
  const std::uint64_t cluster_size = std::uint64_t{1} << raw.cluster_bits;
  return ends_inside(raw, first_bytes) ? std::min<std::uint64_t>(first_bytes.size(), cluster_size)
                                       : cluster_size;
}

Header Header::decode(std::span<const std::byte> first_cluster, bool for_check) {
  const RawHeader raw = load_fields(first_cluster);
  const std::span<const std::byte> bytes = first_cluster.first(
      std::min<std::size_t>(first_cluster.size(), std::size_t{1} << raw.cluster_bits));
  check_header_length(raw, bytes.size());
  check_backing_file(raw, bytes.size());
  const bool has_backing_file = raw.backing_file_offset != 0;
  const std::uint64_t area_end =
      has_backing_file ? std::uint64_t{raw.backing_file_offset} : bytes.size();
  const auto area = bytes.first(area_end).subspan(raw.header_length);
  refuse_unknown_features(raw.incompatible_features, area, raw.header_length);

  Header header;
  header.take_fields(raw, for_check);
  header.take_additional_fields(bytes.first(raw.header_length));
  header.take_extensions(decode_extensions(area, raw.header_length));
  if (has_backing_file) {
    header.backing_file = string_of(bytes.subspan(raw.backing_file_offset, raw.backing_file_size),
                                    "backing file name");
    header.backing_file_offset_ = raw.backing_file_offset;
  }
  return header;
}

void Header::take_fields(const RawHeader& raw, bool for_check) {
  version = raw.version;
  cluster_bits = raw.cluster_bits;
  size = raw.size;
  crypt_method = raw.crypt_method;
  incompatible_features = raw.incompatible_features;
  compatible_features = raw.compatible_features;
  autoclear_features = raw.autoclear_features;
  refcount_order = raw.refcount_order;
  require(refcount_order <= kRefcountOrderMax, "refcount_order", refcount_order,
          fmt::format("at most {}", kRefcountOrderMax));
  if (has(incompatible::kExtendedL2)) {
    require(cluster_bits >= kExtendedL2ClusterBitsMin, "cluster_bits", cluster_bits,
            fmt::format("at least {} with extended L2 entries", kExtendedL2ClusterBitsMin));
  }
  if (crypt_method > crypt_method::kLuks) {
    refuse(Errc::unsupported, "crypt_method", crypt_method, "0 (none), 1 (AES) or 2 (LUKS)");
  }
  if (data_file_raw() && !has(incompatible::kDataFile)) {
    throw Error(Errc::corrupt,
                "header: autoclear_features has \"raw external data\", expected only together with "
                "the incompatible feature \"external data file\"");
  }
  take_tables(raw, for_check);
}

void Header::take_tables(const RawHeader& raw, bool for_check) {
  const std::uint64_t cluster_size = geometry().cluster_size();
  require_at_most(kVirtualSizeMax, "size", size);
  l1_size = raw.l1_size;
  const std::uint64_t l1_bytes = std::uint64_t{l1_size} * 8;
  require_at_most(kL1TableBytesMax / 8, "l1_size", l1_size);
  const std::uint64_t l1_entries_needed = geometry().l1_entries_for(size);
  require(l1_size >= l1_entries_needed, "l1_size", l1_size,
          fmt::format("at least {} for the size {}", l1_entries_needed, size));
  l1_table_offset = table_at("l1_table_offset", raw.l1_table_offset, l1_bytes, cluster_size);

  nb_snapshots = raw.nb_snapshots;
  require_at_most(kSnapshotsMax, "nb_snapshots", nb_snapshots);
  snapshots_offset = table_at("snapshots_offset", raw.snapshots_offset, nb_snapshots, cluster_size);

  if (for_check && (raw.refcount_table_clusters == 0 || raw.refcount_table_offset == 0)) return;
  refcount_table_clusters = raw.refcount_table_clusters;
  require(refcount_table_clusters != 0, "refcount_table_clusters", refcount_table_clusters,
          "at least 1");
  require_at_most(kRefcountTableBytesMax >> cluster_bits, "refcount_table_clusters",
                  refcount_table_clusters);
  const std::uint64_t refcount_table_bytes = refcount_table_clusters * cluster_size;
  refcount_table_offset = table_at("refcount_table_offset", raw.refcount_table_offset,
                                   refcount_table_bytes, cluster_size);
  const bool apart = l1_bytes == 0 ||
                     l1_table_offset.value >= refcount_table_offset.value + refcount_table_bytes ||
                     refcount_table_offset.value >= l1_table_offset.value + l1_bytes;
  require(apart || for_check, "l1_table_offset", l1_table_offset.value,
          fmt::format("a place outside of the refcount table, which has {} bytes at {}",
                      refcount_table_bytes, refcount_table_offset.value));
}

void Header::take_additional_fields(std::span<const std::byte> header_bytes) {
  std::uint8_t type = 0;
  if (version >= 3) {
    header_length_ = static_cast<std::uint32_t>(header_bytes.size());
    constexpr std::size_t kTypeOffset = offsetof(RawHeader, compression_type);
    constexpr std::size_t kRestOffset = offsetof(RawHeader, padding);
    if (header_length_ > kTypeOffset) {
      type = std::to_integer<std::uint8_t>(header_bytes[kTypeOffset]);
      unknown_fields_.assign(header_bytes.begin() + kRestOffset, header_bytes.end());
    }
  }
  compression_type = compression_of(type, has(incompatible::kCompressionType));
}

void Header::take_extensions(std::vector<HeaderExtension> extensions) {
  adds_feature_names_ = version == 2;
  for (HeaderExtension& e : extensions) take_extension(std::move(e));
  if (crypt_method == crypt_method::kLuks && !encryption) {
    refuse(Errc::corrupt, "crypt_method", crypt_method,
           "an extension that points at the encryption header");
  }
}

void Header::take_extension(HeaderExtension&& e) {
  const std::uint64_t cluster_size = geometry().cluster_size();
  switch (e.type) {
    case extension::kBackingFormat:
      require(e.data.size() <= kBackingFormatBytesMax, "length of the backing file format",
              e.data.size(), fmt::format("at most {}", kBackingFormatBytesMax));
      backing_format = string_of(e.data, "backing file format");
      break;
    case extension::kDataFileName:
      data_file = string_of(e.data, "external data file name");
      break;
    case extension::kFeatureNames:
      feature_names_ = std::move(e.data);
      adds_feature_names_ = false;
      break;
    case extension::kBitmaps:
      if ((autoclear_features & autoclear::kBitmaps) != 0) {
        bitmaps = decode_bitmaps(e.data, cluster_size);
      }
      break;
    case extension::kEncryptionHeader:
      if (crypt_method != crypt_method::kLuks) {
        refuse(Errc::corrupt, "crypt_method", crypt_method,
               "2 (LUKS) where an extension points at the encryption header");
      }
      encryption = decode_encryption(e.data, cluster_size);
      break;
    default:
      unknown_extensions_.push_back(std::move(e));
  }
}

}  // namespace qcowkit::qcow2
