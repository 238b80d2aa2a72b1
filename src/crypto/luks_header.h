// The header of a LUKS version 1 volume: its bytes, and what they mean once checked (LUKS On-Disk
// Format Specification 1.2, "Partition header"). No I/O.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include "base/endian.h"
#include "crypto/luks_cipher.h"
#include "qcowkit/info.h"

namespace qcowkit::crypto {

/// Offsets in the header are in sectors of this size (bytes).
inline constexpr std::uint64_t kLuksSectorBytes = 512;
inline constexpr std::size_t kLuksKeySlots = 8;
inline constexpr std::size_t kLuksSaltBytes = 32;
inline constexpr std::size_t kLuksDigestBytes = 20;
/// How often a key is blown up. The specification lets it be any number; all writers use this one,
/// and the reference takes no other.
inline constexpr std::uint32_t kLuksStripes = 4000;
/// Key material starts at multiples of this, where we place it (bytes).
inline constexpr std::uint64_t kLuksAlignmentBytes = 4096;

/// As it lies in the volume; the names are the specification's.
struct RawLuksKeySlot {
  static constexpr std::uint32_t kActive = 0x00ac71f3;
  static constexpr std::uint32_t kInactive = 0x0000dead;

  be32 active;
  be32 iterations;
  std::byte salt[kLuksSaltBytes];
  be32 key_material_offset;  ///< in sectors
  be32 stripes;
};

/// The same.
struct RawLuksHeader {
  static constexpr std::array<char, 6> kMagic = {'L', 'U', 'K', 'S', '\xba', '\xbe'};
  static constexpr std::uint16_t kVersion = 1;
  static constexpr std::size_t kNameBytes = 32;
  static constexpr std::size_t kUuidBytes = 40;

  char magic[6];
  be16 version;
  char cipher_name[kNameBytes];
  char cipher_mode[kNameBytes];
  char hash_spec[kNameBytes];
  be32 payload_offset;  ///< in sectors
  be32 key_bytes;
  std::byte mk_digest[kLuksDigestBytes];
  std::byte mk_digest_salt[kLuksSaltBytes];
  be32 mk_digest_iter;
  char uuid[kUuidBytes];
  RawLuksKeySlot key_slots[kLuksKeySlots];
};
static_assert(sizeof(RawLuksKeySlot) == 48 && sizeof(RawLuksHeader) == 592);
static_assert(offsetof(RawLuksHeader, payload_offset) == 104 &&
              offsetof(RawLuksHeader, uuid) == 168 && offsetof(RawLuksHeader, key_slots) == 208);
static_assert(std::is_trivially_copyable_v<RawLuksHeader>);

/// One place for a passphrase.
struct LuksKeySlot {
  bool is_active = false;
  std::uint32_t iterations = 0;  ///< of an active slot
  std::array<std::byte, kLuksSaltBytes> salt{};
  std::uint32_t key_material_sector = 0;

  std::uint64_t key_material_offset_bytes() const noexcept {
    return key_material_sector * kLuksSectorBytes;
  }
};

/// A header that makes sense.
struct LuksHeader {
  /// What a new volume starts with; digest, salts and identity are still to be filled in.
  LuksHeader(const LuksCipher& cipher, const HashAlgorithm& hash);

  /// True if a file that starts with these bytes is such a volume. Later versions of LUKS are not,
  /// and to the reference they are raw disks.
  static bool probe(std::span<const std::byte> first_bytes) noexcept;
  /// Checks what `bytes`, an area's first ones (or all, if the area is shorter), say of an area of
  /// `area_bytes`. Throws `Error`: not_an_image, corrupt or unsupported, naming the field.
  static LuksHeader decode(std::span<const std::byte> bytes, std::uint64_t area_bytes);
  RawLuksHeader encode() const;
  static RawLuksKeySlot encode(const LuksKeySlot& slot);

  LuksInfo info() const;
  std::uint64_t payload_offset_bytes() const noexcept { return payload_sector * kLuksSectorBytes; }
  /// How many bytes one slot's key material takes: whole sectors.
  std::uint64_t key_material_bytes() const noexcept;
  std::size_t active_key_slots() const noexcept;

  // Constant after construction.
  LuksCipher cipher;
  const HashAlgorithm* hash;
  std::uint32_t payload_sector = 0;

  std::array<std::byte, kLuksDigestBytes> master_key_digest{};
  std::array<std::byte, kLuksSaltBytes> master_key_salt{};
  std::uint32_t master_key_iterations = 0;
  std::string uuid;
  std::array<LuksKeySlot, kLuksKeySlots> key_slots{};
};

}  // namespace qcowkit::crypto
