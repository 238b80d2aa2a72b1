#include "crypto/luks_key_slot.h"

#include <cstring>

#include "base/buffer.h"
#include "crypto/anti_forensic.h"
#include "crypto/key_derivation.h"
#include "crypto/random.h"

namespace qcowkit::crypto {

namespace {

/// Once would do on most disks; more costs little and leaves less to luck.
constexpr int kWipePasses = 3;

std::array<std::byte, kLuksDigestBytes> digest_of(const LuksHeader& header,
                                                  const Secret& master_key) {
  std::array<std::byte, kLuksDigestBytes> digest;
  derive_key(*header.hash, master_key.bytes(), header.master_key_salt, header.master_key_iterations,
             digest);
  return digest;
}

std::unique_ptr<SectorCipher> slot_cipher(const LuksHeader& header, const LuksKeySlot& slot,
                                          const Secret& passphrase) {
  Secret key = Secret::of_size(header.cipher.key_bytes());
  derive_key(*header.hash, passphrase.bytes(), slot.salt, slot.iterations, key.bytes());
  return header.cipher.with_key(key.bytes());
}

std::uint64_t host_offset_of(const LuksArea& area, const LuksKeySlot& slot) noexcept {
  return area.host_offset.value + slot.key_material_offset_bytes();
}

std::size_t split_key_bytes(const LuksHeader& header) noexcept {
  return header.cipher.key_bytes() * kLuksStripes;
}

}  // namespace

Secret make_master_key(LuksHeader& header, std::uint32_t iterations) {
  Secret master_key = Secret::of_size(header.cipher.key_bytes());
  fill_random(master_key.bytes());
  fill_random(header.master_key_salt);
  header.master_key_iterations = iterations;
  header.master_key_digest = digest_of(header, master_key);
  return master_key;
}

std::optional<Secret> open_key_slot(const LuksArea& area, const LuksHeader& header,
                                    std::size_t index, const Secret& passphrase) {
  const LuksKeySlot& slot = header.key_slots[index];
  Secret material = Secret::of_size(header.key_material_bytes());
  area.storage.read(host_offset_of(area, slot), material.bytes());
  slot_cipher(header, slot, passphrase)->decrypt(0, material.bytes());
  Secret master_key =
      merge_secret(*header.hash, header.cipher.key_bytes(), kLuksStripes,
                   std::span<const std::byte>(material.bytes()).first(split_key_bytes(header)));
  if (digest_of(header, master_key) != header.master_key_digest) return std::nullopt;
  return master_key;
}

LuksKeySlot fill_key_slot(const LuksArea& area, const LuksHeader& header, std::size_t index,
                          const Secret& passphrase, const Secret& master_key,
                          std::uint32_t iterations) {
  LuksKeySlot slot = header.key_slots[index];
  slot.is_active = false;
  slot.iterations = iterations;
  fill_random(slot.salt);
  Secret material = Secret::of_size(header.key_material_bytes());
  split_secret(*header.hash, master_key, kLuksStripes,
               material.bytes().first(split_key_bytes(header)));
  slot_cipher(header, slot, passphrase)->encrypt(0, material.bytes());
  area.storage.write(host_offset_of(area, slot), material.bytes());
  return slot;
}

void wipe_key_material(const LuksArea& area, const LuksHeader& header, std::size_t index) {
  Buffer noise(header.key_material_bytes());
  for (int pass = 0; pass < kWipePasses; ++pass) {
    fill_random(noise.span());
    area.storage.write(host_offset_of(area, header.key_slots[index]), noise.span());
    area.storage.flush();
  }
}

}  // namespace qcowkit::crypto
