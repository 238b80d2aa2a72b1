// Writing the header: the inverse of what header.cc decodes.
#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "formats/qcow2/header.h"
#include "formats/qcow2/limits.h"
#include "qcowkit/error.h"

namespace qcowkit::qcow2 {

namespace {

constexpr std::uint32_t kFeatureNamesClusterBitsMin = 13;  // reference: smaller clusters get none

template <typename Raw>
std::span<const std::byte> bytes_of(const Raw& raw) {
  return std::as_bytes(std::span(&raw, 1));
}

void point_at_name(std::vector<std::byte>& area, std::uint64_t name_offset, std::size_t name_size) {
  store_big_endian(area.data() + offsetof(RawHeader, backing_file_offset), name_offset);
  store_big_endian(area.data() + offsetof(RawHeader, backing_file_size),
                   static_cast<std::uint32_t>(name_size));
}

}  // namespace

RawHeader Header::encode_fields() const {
  RawHeader raw{};
  raw.magic = kMagic;
  raw.version = version;
  raw.cluster_bits = cluster_bits;
  raw.size = size;
  raw.crypt_method = crypt_method;
  raw.l1_size = l1_size;
  raw.l1_table_offset = l1_table_offset.value;
  raw.refcount_table_offset = refcount_table_offset.value;
  raw.refcount_table_clusters = refcount_table_clusters;
  raw.nb_snapshots = nb_snapshots;
  raw.snapshots_offset = snapshots_offset.value;
  raw.incompatible_features = incompatible_features;
  raw.compatible_features = compatible_features;
  // An image whose bitmaps bit lacks its extension is readable, but not to be written again.
  raw.autoclear_features = bitmaps ? autoclear_features : autoclear_features & ~autoclear::kBitmaps;
  raw.refcount_order = refcount_order;
  raw.compression_type = static_cast<std::uint8_t>(compression_type);
  return raw;
}

void Header::append_extensions(std::vector<std::byte>& area, bool with_feature_names) const {
  const auto append_string = [&](std::uint32_t type, const std::optional<std::string>& text) {
    if (text) append_extension(area, type, std::as_bytes(std::span(*text)));
  };
  // The order is the reference's.
  append_string(extension::kBackingFormat, backing_format);
  append_string(extension::kDataFileName, data_file);
  if (encryption) {
    const RawEncryptionExtension raw{encryption->offset.value, encryption->length};
    append_extension(area, extension::kEncryptionHeader, bytes_of(raw));
  }
  if (!with_feature_names) {
    // They only help to word messages.
  } else if (feature_names_) {
    append_extension(area, extension::kFeatureNames, *feature_names_);
  } else if (adds_feature_names_ && version >= 3 && cluster_bits >= kFeatureNamesClusterBitsMin) {
    append_extension(area, extension::kFeatureNames, make_feature_names());
  }
  if (bitmaps) {
    const RawBitmapsExtension raw{bitmaps->nb_bitmaps, 0, bitmaps->bitmap_directory_size,
                                  bitmaps->bitmap_directory_offset.value};
    append_extension(area, extension::kBitmaps, bytes_of(raw));
  }
  for (const HeaderExtension& e : unknown_extensions_) append_extension(area, e.type, e.data);
  append_extension(area, extension::kEnd, {});
}

std::vector<std::byte> Header::encode_without_name(bool with_feature_names) const {
  RawHeader raw = encode_fields();
  std::uint32_t length = kHeaderBytesV2;
  if (version >= 3) {
    length = compression_type == CompressionType::deflate
                 ? header_length_
                 : std::max<std::uint32_t>(header_length_, sizeof(RawHeader));
    raw.header_length = length;
  }
  std::vector<std::byte> area(length);
  std::memcpy(area.data(), &raw, std::min<std::size_t>(length, sizeof raw));
  if (version >= 3) {
    std::ranges::copy(unknown_fields_, area.data() + offsetof(RawHeader, padding));
  }
  append_extensions(area, with_feature_names);
  return area;
}

std::vector<std::byte> Header::encode() const {
  std::vector<std::byte> area = encode_without_name(true);
  if (backing_file.empty()) {
    backing_file_offset_ = 0;
  } else {
    backing_file_offset_ = area.size();
    point_at_name(area, backing_file_offset_, backing_file.size());
    const auto name = std::as_bytes(std::span(backing_file));
    area.insert(area.end(), name.begin(), name.end());
  }
  if (area.size() > geometry().cluster_size()) {
    throw Error(Errc::invalid_argument,
                fmt::format("header: extensions and backing file name need {} bytes, expected at "
                            "most the cluster size {}",
                            area.size(), geometry().cluster_size()));
  }
  return area;
}

std::optional<std::vector<std::byte>> Header::encode_in_sector(std::uint64_t name_offset) const {
  std::vector<std::byte> area = encode_without_name(false);
  if (area.size() > kSectorBytes) return std::nullopt;
  if (!backing_file.empty()) point_at_name(area, name_offset, backing_file.size());
  area.resize(kSectorBytes);
  return area;
}

}  // namespace qcowkit::qcow2
