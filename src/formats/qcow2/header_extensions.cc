#include "formats/qcow2/header_extensions.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "base/checked.h"
#include "base/endian.h"
#include "qcowkit/error.h"

namespace qcowkit::qcow2 {

namespace {

constexpr std::size_t kExtensionHeaderBytes = 8;
constexpr std::size_t kExtensionAlignment = 8;

/// An entry of the feature name table (qcow2 spec, Feature name table).
struct RawFeatureName {
  std::uint8_t type;  ///< 0: incompatible, 1: compatible, 2: autoclear
  std::uint8_t bit;
  std::array<char, 46> name;  ///< padded with zeroes, not necessarily terminated
};
static_assert(sizeof(RawFeatureName) == 48 && alignof(RawFeatureName) == 1);
static_assert(std::is_trivially_copyable_v<RawFeatureName>);

struct FeatureName {
  std::uint8_t type;
  std::uint8_t bit;
  std::string_view name;
};

// The order is the reference's, so that headers compare equal.
constexpr std::array<FeatureName, 8> kFeatureNames{{
    {0, 0, "dirty bit"},
    {0, 1, "corrupt bit"},
    {0, 2, "external data file"},
    {0, 3, "compression type"},
    {0, 4, "extended L2 entries"},
    {1, 0, "lazy refcounts"},
    {2, 0, "bitmaps"},
    {2, 1, "raw external data"},
}};

const char* known_name(std::uint32_t type) noexcept {
  switch (type) {
    case extension::kBackingFormat:
      return "backing file format";
    case extension::kFeatureNames:
      return "feature name table";
    case extension::kBitmaps:
      return "bitmaps";
    case extension::kEncryptionHeader:
      return "encryption header";
    case extension::kDataFileName:
      return "external data file name";
    default:
      return nullptr;
  }
}

void require_first(const std::vector<HeaderExtension>& before, std::uint32_t type) {
  const char* name = known_name(type);
  if (name == nullptr) return;
  if (std::ranges::any_of(before, [&](const HeaderExtension& e) { return e.type == type; })) {
    throw Error(Errc::corrupt,
                fmt::format("header extensions: type 0x{:08x} ({}) is there twice, expected once",
                            type, name));
  }
}

/// The table comes from the image: what does not print must not reach a terminal.
std::string printable(const RawFeatureName& entry) {
  std::string name(entry.name.data(), ::strnlen(entry.name.data(), entry.name.size()));
  std::ranges::replace_if(
      name, [](char c) { return c < ' ' || c > '~'; }, '?');
  return name;
}

std::string name_of_bit(std::uint32_t bit, std::span<const std::byte> feature_names) {
  RawFeatureName entry;
  for (; feature_names.size() >= sizeof entry;
       feature_names = feature_names.subspan(sizeof entry)) {
    std::memcpy(&entry, feature_names.data(), sizeof entry);
    if (entry.type != 0 || entry.bit != bit || entry.name[0] == '\0') continue;
    return fmt::format("\"{}\" (bit {})", printable(entry), bit);
  }
  return fmt::format("bit {}", bit);
}

}  // namespace

std::vector<HeaderExtension> decode_extensions(std::span<const std::byte> area,
                                               std::uint64_t area_offset) {
  std::vector<HeaderExtension> extensions;
  std::size_t at = 0;
  while (area.size() - at >= kExtensionHeaderBytes) {
    const auto type = load_big_endian<std::uint32_t>(area.data() + at);
    const auto length = load_big_endian<std::uint32_t>(area.data() + at + 4);
    if (type == extension::kEnd) break;
    const std::size_t left = area.size() - at - kExtensionHeaderBytes;
    if (length > left) {
      throw Error(Errc::corrupt,
                  fmt::format("header extension 0x{:08x} at {}: length is {}, expected at most {}",
                              type, area_offset + at, length, left));
    }
    require_first(extensions, type);
    const auto data = area.subspan(at + kExtensionHeaderBytes, length);
    extensions.push_back({type, {data.begin(), data.end()}});
    at +=
        kExtensionHeaderBytes + std::min<std::size_t>(left, align_up(length, kExtensionAlignment));
  }
  return extensions;
}

bool has_end_marker(std::span<const std::byte> area) noexcept {
  while (area.size() >= kExtensionHeaderBytes) {
    if (load_big_endian<std::uint32_t>(area.data()) == extension::kEnd) return true;
    const std::uint64_t length = load_big_endian<std::uint32_t>(area.data() + 4);
    area = area.subspan(
        std::min(kExtensionHeaderBytes + align_up(length, kExtensionAlignment), area.size()));
  }
  return false;
}

void append_extension(std::vector<std::byte>& area, std::uint32_t type,
                      std::span<const std::byte> data) {
  const std::size_t at = area.size();
  area.resize(at + kExtensionHeaderBytes + align_up(data.size(), kExtensionAlignment));
  store_big_endian(area.data() + at, type);
  store_big_endian(area.data() + at + 4, static_cast<std::uint32_t>(data.size()));
  std::ranges::copy(data, area.data() + at + kExtensionHeaderBytes);
}

std::string name_incompatible_features(std::uint64_t incompatible_features,
                                       std::span<const std::byte> feature_names) {
  std::string names;
  for (std::uint32_t bit = 0; bit < 64; ++bit) {
    if ((incompatible_features >> bit & 1) == 0) continue;
    if (!names.empty()) names += ", ";
    names += name_of_bit(bit, feature_names);
  }
  return names;
}

std::vector<std::byte> make_feature_names() {
  std::vector<std::byte> table(kFeatureNames.size() * sizeof(RawFeatureName));
  std::byte* at = table.data();
  for (const FeatureName& feature : kFeatureNames) {
    RawFeatureName entry{feature.type, feature.bit, {}};
    std::ranges::copy(feature.name, entry.name.begin());
    std::memcpy(at, &entry, sizeof entry);
    at += sizeof entry;
  }
  return table;
}

}  // namespace qcowkit::qcow2
