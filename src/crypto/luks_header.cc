#include "crypto/luks_header.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string_view>

#include "base/checked.h"
#include "crypto/key_derivation.h"
#include "qcowkit/error.h"

namespace qcowkit::crypto {

namespace {

[[noreturn]] void corrupt(const std::string& what) {
  throw Error(Errc::corrupt, "LUKS header: " + what);
}

/// A text field: ends with a zero byte, and has nothing in it that could upset a terminal.
template <std::size_t kSize>
std::string text_of(const char (&field)[kSize], std::string_view name) {
  const auto* end = static_cast<const char*>(std::memchr(field, '\0', kSize));
  if (end == nullptr) corrupt(fmt::format("{}: no zero byte ends the text", name));
  std::string text(field, end);
  for (const char c : text) {
    if (c < ' ' || c > '~') {
      corrupt(fmt::format("{}: byte {:#04x} is no printable character", name,
                          static_cast<unsigned char>(c)));
    }
  }
  return text;
}

template <std::size_t kSize>
void set_text(char (&field)[kSize], std::string_view text) {
  std::memset(field, 0, kSize);
  std::copy_n(text.begin(), std::min(text.size(), kSize - 1), field);
}

void require_iterations(const std::string& field, std::uint32_t iterations,
                        std::uint32_t iterations_max) {
  if (iterations == 0) corrupt(field + ": 0 iterations; expected at least 1");
  if (iterations > iterations_max) {
    throw Error(Errc::limit_exceeded,
                fmt::format("LUKS header: {}: {} iterations; expected at most {}", field,
                            iterations, iterations_max));
  }
}

void require_signature(const RawLuksHeader& raw) {
  if (std::memcmp(raw.magic, RawLuksHeader::kMagic.data(), sizeof raw.magic) != 0) {
    throw Error(Errc::not_an_image, "LUKS header: the magic bytes are missing");
  }
  if (raw.version != RawLuksHeader::kVersion) {
    throw Error(Errc::unsupported,
                fmt::format("LUKS header: version {} is not supported; expected {}",
                            std::uint16_t{raw.version}, RawLuksHeader::kVersion));
  }
}

LuksCipher decode_cipher(const RawLuksHeader& raw) {
  const std::string name = text_of(raw.cipher_name, "cipher-name");
  const std::string mode = text_of(raw.cipher_mode, "cipher-mode");
  try {
    return {name, mode, raw.key_bytes};
  } catch (const Error& error) {
    throw error.within("LUKS header");
  }
}

const HashAlgorithm& decode_hash(const RawLuksHeader& raw) {
  try {
    return require_hash("hash", text_of(raw.hash_spec, "hash-spec"));
  } catch (const Error& error) {
    throw error.code() == Errc::unsupported ? error.within("LUKS header") : error;
  }
}

LuksKeySlot decode_key_slot(const RawLuksKeySlot& raw, std::size_t index,
                            std::uint32_t iterations_max) {
  LuksKeySlot slot;
  const std::string name = fmt::format("key slot {}", index);
  slot.is_active = raw.active == RawLuksKeySlot::kActive;
  if (!slot.is_active && raw.active != RawLuksKeySlot::kInactive) {
    corrupt(fmt::format("{}: state {:#010x}; expected {:#010x} (active) or {:#010x} (inactive)",
                        name, std::uint32_t{raw.active}, RawLuksKeySlot::kActive,
                        RawLuksKeySlot::kInactive));
  }
  if (slot.is_active) require_iterations(name, raw.iterations, iterations_max);
  if (raw.stripes != kLuksStripes) {
    corrupt(
        fmt::format("{}: {} stripes; expected {}", name, std::uint32_t{raw.stripes}, kLuksStripes));
  }
  slot.iterations = raw.iterations;
  std::copy(std::begin(raw.salt), std::end(raw.salt), slot.salt.begin());
  slot.key_material_sector = raw.key_material_offset;
  return slot;
}

/// Header, key material and payload lie in the area and beside each other.
void require_layout(const LuksHeader& header, std::uint64_t area_bytes) {
  constexpr std::uint64_t kHeaderEnd = align_up(sizeof(RawLuksHeader), kLuksSectorBytes);
  const std::uint64_t payload = header.payload_offset_bytes();
  if (payload > area_bytes) {
    corrupt(fmt::format("payload-offset: {} bytes; expected at most {}, where the volume ends",
                        payload, area_bytes));
  }
  const std::uint64_t material_bytes = header.key_material_bytes();
  for (std::size_t i = 0; i < kLuksKeySlots; ++i) {
    const std::uint64_t begin = header.key_slots[i].key_material_offset_bytes();
    const std::uint64_t end = begin + material_bytes;
    if (begin < kHeaderEnd || end > payload) {
      corrupt(
          fmt::format("key slot {}: key material at {} to {}; expected it between the header, "
                      "which ends at {}, and the payload at {}",
                      i, begin, end, kHeaderEnd, payload));
    }
    for (std::size_t j = 0; j < i; ++j) {
      const std::uint64_t other = header.key_slots[j].key_material_offset_bytes();
      if (begin < other + material_bytes && other < end) {
        corrupt(
            fmt::format("key slots {} and {}: their key material, of {} bytes at {} and {}, "
                        "overlaps",
                        j, i, material_bytes, other, begin));
      }
    }
  }
}

}  // namespace

LuksHeader::LuksHeader(const LuksCipher& with_cipher, const HashAlgorithm& with_hash)
    : cipher(with_cipher), hash(&with_hash) {
  // Key material starts a page behind the header, each slot's at a page of its own.
  const std::uint64_t slot_sectors =
      align_up(key_material_bytes(), kLuksAlignmentBytes) / kLuksSectorBytes;
  std::uint64_t sector = kLuksAlignmentBytes / kLuksSectorBytes;
  for (LuksKeySlot& slot : key_slots) {
    slot.key_material_sector = static_cast<std::uint32_t>(sector);
    sector += slot_sectors;
  }
  payload_sector = static_cast<std::uint32_t>(sector);
}

std::uint64_t LuksHeader::key_material_bytes() const noexcept {
  return align_up(cipher.key_bytes() * kLuksStripes, kLuksSectorBytes);
}

std::size_t LuksHeader::active_key_slots() const noexcept {
  return static_cast<std::size_t>(std::count_if(
      key_slots.begin(), key_slots.end(), [](const LuksKeySlot& slot) { return slot.is_active; }));
}

bool LuksHeader::probe(std::span<const std::byte> first_bytes) noexcept {
  constexpr std::size_t kNeeded = offsetof(RawLuksHeader, cipher_name);
  if (first_bytes.size() < kNeeded) return false;
  RawLuksHeader raw{};
  std::memcpy(static_cast<void*>(&raw), first_bytes.data(), kNeeded);
  return std::memcmp(raw.magic, RawLuksHeader::kMagic.data(), sizeof raw.magic) == 0 &&
         raw.version == RawLuksHeader::kVersion;
}

LuksHeader LuksHeader::decode(std::span<const std::byte> bytes, std::uint64_t area_bytes) {
  RawLuksHeader raw{};
  std::memcpy(&raw, bytes.data(), std::min(bytes.size(), sizeof raw));
  require_signature(raw);
  if (bytes.size() < sizeof raw) {
    corrupt(fmt::format("it ends after {} bytes; expected {}", bytes.size(), sizeof raw));
  }
  LuksHeader header(decode_cipher(raw), decode_hash(raw));
  header.payload_sector = raw.payload_offset;
  std::copy(std::begin(raw.mk_digest), std::end(raw.mk_digest), header.master_key_digest.begin());
  std::copy(std::begin(raw.mk_digest_salt), std::end(raw.mk_digest_salt),
            header.master_key_salt.begin());
  header.master_key_iterations = raw.mk_digest_iter;
  require_iterations("mk-digest-iter", header.master_key_iterations,
                     iterations_max(*header.hash, kLuksDigestBytes));
  header.uuid = text_of(raw.uuid, "uuid");
  const std::uint32_t slot_max = iterations_max(*header.hash, header.cipher.key_bytes());
  for (std::size_t i = 0; i < kLuksKeySlots; ++i) {
    header.key_slots[i] = decode_key_slot(raw.key_slots[i], i, slot_max);
  }
  require_layout(header, area_bytes);
  return header;
}

RawLuksKeySlot LuksHeader::encode(const LuksKeySlot& slot) {
  RawLuksKeySlot raw{};
  raw.active = slot.is_active ? RawLuksKeySlot::kActive : RawLuksKeySlot::kInactive;
  raw.iterations = slot.iterations;
  std::copy(slot.salt.begin(), slot.salt.end(), raw.salt);
  raw.key_material_offset = slot.key_material_sector;
  raw.stripes = kLuksStripes;
  return raw;
}

RawLuksHeader LuksHeader::encode() const {
  RawLuksHeader raw{};
  std::copy(RawLuksHeader::kMagic.begin(), RawLuksHeader::kMagic.end(), raw.magic);
  raw.version = RawLuksHeader::kVersion;
  set_text(raw.cipher_name, cipher.algorithm().family);
  set_text(raw.cipher_mode, cipher.mode_field());
  set_text(raw.hash_spec, hash->name);
  raw.payload_offset = payload_sector;
  raw.key_bytes = static_cast<std::uint32_t>(cipher.key_bytes());
  std::copy(master_key_digest.begin(), master_key_digest.end(), raw.mk_digest);
  std::copy(master_key_salt.begin(), master_key_salt.end(), raw.mk_digest_salt);
  raw.mk_digest_iter = master_key_iterations;
  set_text(raw.uuid, uuid);
  for (std::size_t i = 0; i < kLuksKeySlots; ++i) raw.key_slots[i] = encode(key_slots[i]);
  return raw;
}

LuksInfo LuksHeader::info() const {
  LuksInfo info;
  info.cipher_alg = cipher.algorithm().name;
  info.cipher_mode = name_of(cipher.mode());
  info.ivgen_alg = cipher.iv_name();
  info.ivgen_hash_alg = cipher.iv_hash_name();
  info.hash_alg = hash->name;
  info.uuid = uuid;
  info.payload_offset_bytes = payload_offset_bytes();
  info.master_key_iterations = master_key_iterations;
  for (const LuksKeySlot& slot : key_slots) {
    info.slots.push_back({.active = slot.is_active,
                          .iterations = slot.is_active ? slot.iterations : 0,
                          .stripes = slot.is_active ? kLuksStripes : 0,
                          .key_offset_bytes = slot.key_material_offset_bytes()});
  }
  return info;
}

}  // namespace qcowkit::crypto
