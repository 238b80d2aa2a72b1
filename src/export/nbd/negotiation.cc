#include "export/nbd/negotiation.h"

#include <algorithm>
#include <cstring>

namespace qcowkit::nbd {

namespace {

/// Takes values off the front of option data; nothing once they are used up.
class Fields {
 public:
  explicit Fields(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

  template <typename T>
  std::optional<T> number() noexcept {
    if (bytes_.size() < sizeof(T)) return std::nullopt;
    const T value = load_big_endian<T>(bytes_.data());
    bytes_ = bytes_.subspan(sizeof(T));
    return value;
  }

  /// A string behind its length in 32 bits.
  std::optional<std::string> counted_string() {
    const auto length = number<std::uint32_t>();
    if (!length || *length > bytes_.size()) return std::nullopt;
    auto text = parse_string(bytes_.first(*length));
    bytes_ = bytes_.subspan(*length);
    return text;
  }

  std::size_t left() const noexcept { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace

std::optional<OptionStart> parse_option_start(std::span<const std::byte, 16> bytes) noexcept {
  OptionHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kOptionMagic) return std::nullopt;
  return OptionStart{static_cast<Option>(std::uint32_t{header.option}), header.length};
}

std::optional<std::string> parse_string(std::span<const std::byte> bytes) {
  if (bytes.size() > kStringBytesMax) return std::nullopt;
  if (std::find(bytes.begin(), bytes.end(), std::byte{0}) != bytes.end()) return std::nullopt;
  std::string text(bytes.size(), '\0');
  if (!bytes.empty()) std::memcpy(text.data(), bytes.data(), bytes.size());
  return text;
}

std::optional<InfoRequest> parse_info_request(std::span<const std::byte> data) {
  Fields fields(data);
  auto name = fields.counted_string();
  const auto count = fields.number<std::uint16_t>();
  if (!name || !count || fields.left() != std::size_t{*count} * 2) return std::nullopt;
  InfoRequest request{.export_name = std::move(*name)};
  for (std::uint32_t i = 0; i < *count; ++i) {
    switch (static_cast<InfoType>(*fields.number<std::uint16_t>())) {
      case InfoType::name:
        request.wants_name = true;
        break;
      case InfoType::description:
        request.wants_description = true;
        break;
      case InfoType::block_size:
        request.wants_block_size = true;
        break;
      case InfoType::disk:  // is sent anyway
        break;
    }
  }
  return request;
}

std::optional<MetaContextRequest> parse_meta_context_request(std::span<const std::byte> data) {
  Fields fields(data);
  auto name = fields.counted_string();
  const auto count = fields.number<std::uint32_t>();
  if (!name || !count || *count > fields.left() / sizeof(std::uint32_t)) return std::nullopt;
  MetaContextRequest request{.export_name = std::move(*name), .queries = {}};
  for (std::uint32_t i = 0; i < *count; ++i) {
    auto query = fields.counted_string();
    if (!query) return std::nullopt;
    request.queries.push_back(std::move(*query));
  }
  if (fields.left() != 0) return std::nullopt;
  return request;
}

}  // namespace qcowkit::nbd
