// A header as bytes, to be bent field by field.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/endian.h"
#include "formats/qcow2/header.h"

namespace qcowkit::test {

/// The first cluster of a sound image of 1 MiB, without extensions.
class HeaderBytes {
 public:
  explicit HeaderBytes(std::uint32_t version = 3, std::uint32_t cluster_bits = 16)
      : bytes_(std::size_t{1} << cluster_bits) {
    raw.magic = {std::byte{'Q'}, std::byte{'F'}, std::byte{'I'}, std::byte{0xfb}};
    raw.version = version;
    raw.cluster_bits = cluster_bits;
    raw.size = 1 << 20;
    raw.l1_size = 32;
    raw.l1_table_offset = bytes_.size() * 3;
    raw.refcount_table_offset = bytes_.size();
    raw.refcount_table_clusters = 1;
    if (version >= 3) {
      raw.refcount_order = 4;
      raw.header_length = sizeof raw;
    }
    extensions_at_ = version >= 3 ? sizeof raw : qcow2::kHeaderBytesV2;
  }

  qcow2::RawHeader raw{};

  /// Adds an extension behind those that are there.
  HeaderBytes& extend(std::uint32_t type, std::string_view data) {
    return extend(type, data, static_cast<std::uint32_t>(data.size()));
  }
  /// The same, with a length that may be a lie.
  HeaderBytes& extend(std::uint32_t type, std::string_view data, std::uint32_t length) {
    store_big_endian(bytes_.data() + extensions_at_, type);
    store_big_endian(bytes_.data() + extensions_at_ + 4, length);
    put(extensions_at_ + 8, data);
    extensions_at_ += 8 + (data.size() + 7) / 8 * 8;
    return *this;
  }
  HeaderBytes& put(std::size_t offset, std::string_view data) {
    std::memcpy(bytes_.data() + offset, data.data(), data.size());
    return *this;
  }
  /// Gives the image a backing file whose name lies at `offset`.
  HeaderBytes& back(std::uint64_t offset, std::string_view name) {
    raw.backing_file_offset = offset;
    raw.backing_file_size = static_cast<std::uint32_t>(name.size());
    if (offset < bytes_.size() && name.size() <= bytes_.size() - offset) put(offset, name);
    return *this;
  }
  /// Where the next extension will begin.
  std::size_t extensions_end() const noexcept { return extensions_at_; }

  std::vector<std::byte> bytes() const {
    std::vector<std::byte> all = bytes_;
    std::memcpy(all.data(), &raw, raw.version == 2 ? qcow2::kHeaderBytesV2 : sizeof raw);
    return all;
  }

 private:
  std::vector<std::byte> bytes_;
  std::size_t extensions_at_;
};

/// A sound header with one change.
HeaderBytes header_with(const std::function<void(qcow2::RawHeader&)>& change,
                        std::uint32_t version = 3, std::uint32_t cluster_bits = 16);

/// The words as they lie in a file.
std::string be(std::initializer_list<std::uint64_t> words);

/// The bitmaps extension's data (qcow2 spec, Bitmaps extension); sizes in bytes.
std::string bitmaps_extension(std::uint32_t nb_bitmaps, std::uint32_t reserved, std::uint64_t size,
                              std::uint64_t offset);

/// An entry of the feature name table (qcow2 spec, Feature name table).
std::string feature_name(std::uint8_t type, std::uint8_t bit, const std::string& name);

/// A header of either version with extensions, some of them left out at random.
HeaderBytes rich_header(std::mt19937_64& random);

}  // namespace qcowkit::test
