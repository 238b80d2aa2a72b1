// The header of a version 1 image (docs/qcow1.md, Header). No I/O, no locks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/endian.h"
#include "base/offsets.h"
#include "formats/qcow1/geometry.h"

namespace qcowkit::qcow1 {

/// The header's bytes.
struct RawHeader {
  std::array<std::byte, 4> magic;  ///< "QFI\xfb"
  be32 version;                    ///< 1
  be64 backing_file_offset;        ///< 0: no backing file
  be32 backing_file_size;          ///< bytes, without a final zero
  be32 mtime;                      ///< of the backing file; nobody looks at it any more
  be64 size;                       ///< of the disk, in bytes
  std::uint8_t cluster_bits;
  std::uint8_t l2_bits;
  be16 padding;
  be32 crypt_method;
  be64 l1_table_offset;
};
static_assert(sizeof(RawHeader) == 48 && alignof(RawHeader) == 1);
static_assert(std::is_trivially_copyable_v<RawHeader>);
static_assert(offsetof(RawHeader, size) == 24);
static_assert(offsetof(RawHeader, crypt_method) == 36);

enum class CryptMethod : std::uint32_t { none = 0, aes = 1 };

/// A header that has been checked: every field is within the limits, by itself and together with
/// the others. Whether the L1 table and the backing file's name lie inside the file is the opener's
/// business.
class Header {
 public:
  std::uint64_t size = 0;
  std::uint32_t cluster_bits = 12;
  std::uint32_t l2_bits = 9;
  CryptMethod crypt_method = CryptMethod::none;
  HostOffset l1_table_offset{};
  HostOffset backing_file_offset{};
  std::uint32_t backing_file_size = 0;  ///< 0: no backing file
  std::string backing_file;             ///< what lies there, once the opener has read it

  Geometry geometry() const noexcept { return {cluster_bits, l2_bits}; }
  std::uint64_t l1_entries() const noexcept { return geometry().l1_entries_for(size); }
  std::uint64_t l1_table_bytes() const noexcept { return l1_entries() * sizeof(std::uint64_t); }
  HostOffset l1_table_end() const noexcept { return l1_table_offset + l1_table_bytes(); }

  /// True if `bytes` begin with the magic and version 1.
  static bool probe(std::span<const std::byte> bytes) noexcept;
  /// Decodes and checks the first 48 bytes of a file (shorter where the file is). Throws `Error`:
  /// not_an_image, unsupported (version, encryption method), limit_exceeded or corrupt, naming
  /// field, value and expectation.
  static Header decode(std::span<const std::byte> first_bytes);

  /// Sets the places of the backing file's name and the L1 table, as in a new image. Throws `Error`
  /// (invalid_argument) if the name is too long.
  void lay_out();
  /// The bytes of a new image up to its L1 table.
  std::vector<std::byte> encode() const;
};

}  // namespace qcowkit::qcow1
