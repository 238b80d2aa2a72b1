#include "crypto/luks.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <optional>
#include <vector>

#include "crypto/key_derivation.h"
#include "crypto/luks_header.h"
#include "crypto/luks_key_slot.h"
#include "crypto/random.h"
#include "qcowkit/error.h"

namespace qcowkit::crypto {

namespace {

constexpr std::uint64_t kIterTimeMs = 2000;
/// Recognising the master key is to take this part of the time that unlocking takes.
constexpr std::uint64_t kDigestShare = 8;

double iter_time_or_default(std::uint64_t iter_time_ms) noexcept {
  return static_cast<double>(iter_time_ms == 0 ? kIterTimeMs : iter_time_ms);
}

LuksHeader read_header(const LuksArea& area) {
  std::array<std::byte, sizeof(RawLuksHeader)> bytes;
  const std::span<std::byte> present =
      std::span(bytes).first(std::min<std::uint64_t>(bytes.size(), area.length_bytes));
  area.storage.read(area.host_offset.value, present);
  return LuksHeader::decode(present, area.length_bytes);
}

LuksHeader new_header(const LuksOptions& options) {
  std::string_view hash = options.hash_alg;
  if (hash.empty()) hash = "sha256";
  return {LuksCipher(options), require_hash("hash", hash)};
}

/// A random one (RFC 9562, version 4).
std::string make_uuid() {
  std::array<std::byte, 16> bytes;
  fill_random(bytes);
  bytes[6] = (bytes[6] & std::byte{0x0f}) | std::byte{0x40};
  bytes[8] = (bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", std::to_integer<unsigned>(bytes[i]));
  }
  return text;
}

[[noreturn]] void refuse(const std::string& why) { throw Error(Errc::invalid_argument, why); }

constexpr const char* kWrongPassphrase = "Invalid password, cannot unlock any keyslot";

}  // namespace

/// An open volume, and what is done to it.
struct LuksVolume::State {
  explicit State(const LuksArea& at) : area(at), header(read_header(at)) {}

  Secret master_key(const Secret& passphrase) const;
  void activate(const Secret& present, const KeySlotChange& change);
  void deactivate(const KeySlotChange& change);

  bool opens(std::size_t index, const Secret& passphrase) const {
    return header.key_slots[index].is_active &&
           open_key_slot(area, header, index, passphrase).has_value();
  }
  std::optional<std::size_t> free_slot() const;
  void require_another_slot(const KeySlotChange& change, std::size_t erased) const;
  void fill(std::size_t index, const Secret& passphrase, const Secret& key,
            std::uint32_t iterations);
  void erase(std::size_t index);
  void write_record(std::size_t index, const LuksKeySlot& slot);

  LuksArea area;
  LuksHeader header;
};

Secret LuksVolume::State::master_key(const Secret& passphrase) const {
  for (std::size_t i = 0; i < kLuksKeySlots; ++i) {
    if (!header.key_slots[i].is_active) continue;
    std::optional<Secret> key = open_key_slot(area, header, i, passphrase);
    if (key) return std::move(*key);
  }
  refuse(kWrongPassphrase);
}

std::optional<std::size_t> LuksVolume::State::free_slot() const {
  for (std::size_t i = 0; i < kLuksKeySlots; ++i) {
    if (!header.key_slots[i].is_active) return i;
  }
  return std::nullopt;
}

/// Writes what the header says of a slot, and takes note of it.
void LuksVolume::State::write_record(std::size_t index, const LuksKeySlot& slot) {
  const RawLuksKeySlot raw = LuksHeader::encode(slot);
  area.storage.write(
      area.host_offset.value + offsetof(RawLuksHeader, key_slots) + index * sizeof raw,
      std::as_bytes(std::span(&raw, 1)));
  header.key_slots[index] = slot;
}

/// Fills an inactive slot. Its record may lie across two sectors of the disk, of which a crash may
/// keep either: so all of it is durable before the state says active, which is in one sector.
void LuksVolume::State::fill(std::size_t index, const Secret& passphrase, const Secret& key,
                             std::uint32_t iterations) {
  LuksKeySlot slot = fill_key_slot(area, header, index, passphrase, key, iterations);
  write_record(index, slot);
  area.storage.flush();
  slot.is_active = true;
  write_record(index, slot);
  area.storage.flush();
}

void LuksVolume::State::erase(std::size_t index) {
  wipe_key_material(area, header, index);
  LuksKeySlot slot;
  slot.key_material_sector = header.key_slots[index].key_material_sector;
  write_record(index, slot);
  area.storage.flush();
}

void LuksVolume::State::activate(const Secret& present, const KeySlotChange& change) {
  if (!change.new_secret) refuse("'new-secret' is required to activate a keyslot");
  if (change.old_secret) refuse("'old-secret' must not be given when activating keyslots");
  const std::optional<std::size_t> free = free_slot();
  if (!change.key_slot && !free) refuse("Can't add a keyslot - all keyslots are in use");
  const std::size_t index = change.key_slot ? *change.key_slot : *free;
  const bool replaces = header.key_slots[index].is_active;
  if (replaces && !change.force) {
    refuse(fmt::format("Refusing to overwrite active keyslot {} - please erase it first", index));
  }
  const Secret key = master_key(present);
  const HashAlgorithm& hash = *header.hash;
  const double time_ms = iter_time_or_default(change.iter_time_ms);
  const std::uint32_t iterations = iterations_for(measure_iterations_per_second(hash, time_ms),
                                                  hash, header.cipher.key_bytes(), time_ms);
  if (!replaces) {
    fill(index, *change.new_secret, key, iterations);
    return;
  }
  // The new passphrase is good in another slot while this one is being replaced; where there is no
  // other slot, seven others are active.
  if (free) fill(*free, *change.new_secret, key, iterations);
  erase(index);
  fill(index, *change.new_secret, key, iterations);
  if (free) erase(*free);
}

void LuksVolume::State::require_another_slot(const KeySlotChange& change,
                                             std::size_t erased) const {
  if (header.active_key_slots() > erased) return;
  const std::string what =
      change.key_slot
          ? fmt::format("Attempt to erase the only active keyslot {} which", *change.key_slot)
          : "All the active keyslots match the (old) password that was given and erasing them";
  refuse(what + " will erase all the data in the image irreversibly - refusing operation");
}

void LuksVolume::State::deactivate(const KeySlotChange& change) {
  if (change.new_secret) refuse("'new-secret' must not be given when erasing keyslots");
  if (!change.key_slot && !change.old_secret) {
    refuse(
        "To erase keyslot(s), either explicit keyslot index or the password currently contained in "
        "them must be given");
  }
  std::vector<std::size_t> erased;
  if (change.key_slot) {
    const std::size_t index = *change.key_slot;
    if (change.old_secret && !opens(index, *change.old_secret)) {
      refuse(fmt::format(
          "Given keyslot {} doesn't contain the given old password for erase operation", index));
    }
    if (!header.key_slots[index].is_active && !change.force) {
      refuse(fmt::format("Given keyslot {} is already erased (inactive) ", index));
    }
    erased = {index};
  } else {
    for (std::size_t i = 0; i < kLuksKeySlots; ++i) {
      if (opens(i, *change.old_secret)) erased.push_back(i);
    }
    if (erased.empty()) refuse("No keyslots match given (old) password for erase operation");
  }
  if (!change.force) require_another_slot(change, erased.size());
  for (const std::size_t index : erased) erase(index);
}

LuksVolume::LuksVolume(const LuksArea& area) : state_(std::make_unique<State>(area)) {}
LuksVolume::~LuksVolume() = default;

LuksInfo LuksVolume::info() const { return state_->header.info(); }

std::uint64_t LuksVolume::payload_offset_bytes() const noexcept {
  return state_->header.payload_offset_bytes();
}

std::unique_ptr<SectorCipher> LuksVolume::unlock(const Secret& passphrase) const {
  return state_->header.cipher.with_key(state_->master_key(passphrase).bytes());
}

void LuksVolume::change_key_slots(const Secret& present, const KeySlotChange& change) {
  if (change.key_slot && *change.key_slot >= kLuksKeySlots) {
    refuse(fmt::format("Invalid keyslot {} specified, must be between 0 and {}", *change.key_slot,
                       kLuksKeySlots - 1));
  }
  if (change.activate) {
    state_->activate(present, change);
  } else {
    state_->deactivate(change);
  }
}

std::uint64_t luks_header_bytes(const LuksOptions& options) {
  return new_header(options).payload_offset_bytes();
}

std::unique_ptr<SectorCipher> create_luks(const LuksArea& area, const LuksOptions& options,
                                          const Secret& passphrase) {
  LuksHeader header = new_header(options);
  if (area.length_bytes < header.payload_offset_bytes()) {
    refuse(fmt::format("a LUKS header takes {} bytes, and there is room for {}",
                       header.payload_offset_bytes(), area.length_bytes));
  }
  const HashAlgorithm& hash = *header.hash;
  const double time_ms = iter_time_or_default(options.iter_time_ms);
  const double speed = measure_iterations_per_second(hash, time_ms);
  const Secret master_key = make_master_key(
      header, iterations_for(speed, hash, kLuksDigestBytes, time_ms / kDigestShare));
  header.uuid = make_uuid();
  header.key_slots[0] =
      fill_key_slot(area, header, 0, passphrase, master_key,
                    iterations_for(speed, hash, header.cipher.key_bytes(), time_ms));
  header.key_slots[0].is_active = true;

  std::array<std::byte, kLuksAlignmentBytes> block{};
  const RawLuksHeader raw = header.encode();
  std::memcpy(block.data(), &raw, sizeof raw);
  area.storage.write(area.host_offset.value, block);
  return header.cipher.with_key(master_key.bytes());
}

}  // namespace qcowkit::crypto
