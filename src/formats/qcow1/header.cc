#include "formats/qcow1/header.h"

#include <fmt/core.h>

#include <cstring>

#include "base/checked.h"
#include "formats/qcow1/limits.h"
#include "qcowkit/error.h"

namespace qcowkit::qcow1 {

namespace {

constexpr std::array<std::byte, 4> kMagic = {std::byte{'Q'}, std::byte{'F'}, std::byte{'I'},
                                             std::byte{0xfb}};
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kTableAlignment = sizeof(std::uint64_t);

bool overlap(HostOffset a, std::uint64_t a_bytes, HostOffset b, std::uint64_t b_bytes) noexcept {
  return a < b + b_bytes && b < a + a_bytes;
}

void require_bits(const char* field, std::uint32_t bits, std::uint32_t bits_min,
                  std::uint32_t bits_max) {
  if (bits >= bits_min && bits <= bits_max) return;
  throw Error(Errc::corrupt,
              fmt::format("header: {} is {}, expected {} to {}", field, bits, bits_min, bits_max));
}

CryptMethod crypt_method_of(std::uint32_t raw) {
  if (raw > static_cast<std::uint32_t>(CryptMethod::aes)) {
    throw Error(Errc::unsupported,
                fmt::format("header: crypt_method is {}, expected 0 (none) or 1 (AES)", raw));
  }
  return static_cast<CryptMethod>(raw);
}

void check_size(const Header& header) {
  if (header.size < kVirtualSizeMin) {
    throw Error(Errc::corrupt, fmt::format("header: size is {}, expected at least {} bytes",
                                           header.size, kVirtualSizeMin));
  }
  if (header.l1_entries() > kL1TableBytesMax / sizeof(std::uint64_t)) {
    throw Error(
        Errc::limit_exceeded,
        fmt::format(
            "header: size is {}, expected at most {} bytes with these clusters", header.size,
            kL1TableBytesMax / sizeof(std::uint64_t) * header.geometry().l1_entry_covers()));
  }
}

void check_l1_table(const Header& header) {
  const std::uint64_t offset = header.l1_table_offset.value;
  if (offset < sizeof(RawHeader) || !is_aligned(offset, kTableAlignment) ||
      offset >= kFileEnd - header.l1_table_bytes()) {
    throw Error(Errc::corrupt,
                fmt::format("header: l1_table_offset is {:#x}, expected a multiple of {} behind "
                            "the header, with {} bytes of the file from there",
                            offset, kTableAlignment, header.l1_table_bytes()));
  }
}

void check_backing_file(const Header& header) {
  if (header.backing_file_size == 0) return;
  if (header.backing_file_size > kBackingNameBytesMax) {
    throw Error(Errc::limit_exceeded,
                fmt::format("header: backing_file_size is {}, expected at most {}",
                            header.backing_file_size, kBackingNameBytesMax));
  }
  const std::uint64_t offset = header.backing_file_offset.value;
  if (offset < sizeof(RawHeader) || offset >= kFileEnd - header.backing_file_size ||
      overlap(header.backing_file_offset, header.backing_file_size, header.l1_table_offset,
              header.l1_table_bytes())) {
    throw Error(Errc::corrupt,
                fmt::format("header: backing_file_offset is {:#x}, expected a place behind the "
                            "header and apart from the L1 table",
                            offset));
  }
}

}  // namespace

bool Header::probe(std::span<const std::byte> bytes) noexcept {
  return bytes.size() >= offsetof(RawHeader, backing_file_offset) &&
         std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0 &&
         load_big_endian<std::uint32_t>(bytes.data() + offsetof(RawHeader, version)) == kVersion;
}

Header Header::decode(std::span<const std::byte> first_bytes) {
  RawHeader raw;
  if (first_bytes.size() < kMagic.size() ||
      std::memcmp(first_bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    throw Error(Errc::not_an_image, "Image not in qcow format");
  }
  if (first_bytes.size() < sizeof raw) {
    throw Error(Errc::corrupt, fmt::format("header: the file ends after {} bytes, expected {}",
                                           first_bytes.size(), sizeof raw));
  }
  std::memcpy(&raw, first_bytes.data(), sizeof raw);
  if (raw.version != kVersion) {
    const std::uint32_t version = raw.version;
    throw Error(
        Errc::unsupported,
        fmt::format("qcow (v1) does not support qcow version {}{}", version,
                    version == 2 || version == 3 ? "\nTry the 'qcow2' driver instead." : ""));
  }
  require_bits("cluster_bits", raw.cluster_bits, kClusterBitsMin, kClusterBitsMax);
  require_bits("l2_bits", raw.l2_bits, kL2BitsMin, kL2BitsMax);

  Header header;
  header.size = raw.size;
  header.cluster_bits = raw.cluster_bits;
  header.l2_bits = raw.l2_bits;
  header.crypt_method = crypt_method_of(raw.crypt_method);
  header.l1_table_offset = {raw.l1_table_offset};
  header.backing_file_offset = {raw.backing_file_offset};
  // Without an offset, the size means nothing.
  if (raw.backing_file_offset != 0) header.backing_file_size = raw.backing_file_size;
  check_size(header);
  check_l1_table(header);
  check_backing_file(header);
  return header;
}

void Header::lay_out() {
  if (backing_file.size() > kBackingNameBytesMax) {
    throw Error(Errc::invalid_argument,
                fmt::format("the backing file's name has {} bytes, expected at most {}",
                            backing_file.size(), kBackingNameBytesMax));
  }
  backing_file_size = static_cast<std::uint32_t>(backing_file.size());
  backing_file_offset = {backing_file.empty() ? 0 : sizeof(RawHeader)};
  l1_table_offset = {align_up(sizeof(RawHeader) + backing_file.size(), kTableAlignment)};
}

std::vector<std::byte> Header::encode() const {
  RawHeader raw{};
  raw.magic = kMagic;
  raw.version = kVersion;
  raw.backing_file_offset = backing_file_offset.value;
  raw.backing_file_size = backing_file_size;
  raw.size = size;
  raw.cluster_bits = static_cast<std::uint8_t>(cluster_bits);
  raw.l2_bits = static_cast<std::uint8_t>(l2_bits);
  raw.crypt_method = static_cast<std::uint32_t>(crypt_method);
  raw.l1_table_offset = l1_table_offset.value;

  std::vector<std::byte> bytes(l1_table_offset.value);
  std::memcpy(bytes.data(), &raw, sizeof raw);
  if (!backing_file.empty()) {
    std::memcpy(bytes.data() + sizeof raw, backing_file.data(), backing_file.size());
  }
  return bytes;
}

}  // namespace qcowkit::qcow1
