// LUKS volumes for tests: small ones, with passphrases that are quickly tried.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "crypto/luks.h"
#include "qcowkit/error.h"
#include "storage/memory_storage.h"

namespace qcowkit::test {

inline LuksOptions luks_options(std::string_view cipher_alg = {}, std::string_view cipher_mode = {},
                                std::string_view ivgen_alg = {},
                                std::string_view ivgen_hash_alg = {},
                                std::string_view hash_alg = {}) {
  LuksOptions options;
  options.cipher_alg = cipher_alg;
  options.cipher_mode = cipher_mode;
  options.ivgen_alg = ivgen_alg;
  options.ivgen_hash_alg = ivgen_hash_alg;
  options.hash_alg = hash_alg;
  options.iter_time_ms = 1;
  return options;
}

inline Secret secret(std::string_view text) { return Secret(text); }
inline std::shared_ptr<const Secret> shared_secret(std::string_view text) {
  return std::make_shared<const Secret>(text);
}

/// Short keys: little key material.
inline LuksOptions small_luks_options() { return luks_options("aes-128", "cbc"); }

/// A volume in memory, with one passphrase.
inline std::shared_ptr<MemoryStorage> make_luks_storage(
    std::string_view passphrase, const LuksOptions& options = small_luks_options()) {
  auto storage = std::make_shared<MemoryStorage>();
  const std::uint64_t header_bytes = crypto::luks_header_bytes(options);
  crypto::create_luks({*storage, HostOffset{0}, header_bytes}, options, secret(passphrase));
  storage->resize(header_bytes, Preallocation::off);
  return storage;
}

inline crypto::LuksVolume open_luks(Storage& storage) {
  return crypto::LuksVolume({storage, HostOffset{0}, storage.size()});
}

inline bool opens(const crypto::LuksVolume& volume, std::string_view passphrase) {
  try {
    return volume.unlock(secret(passphrase)) != nullptr;
  } catch (const Error& error) {
    if (error.code() != Errc::invalid_argument) throw;
    return false;
  }
}

inline KeySlotChange adding(std::string_view passphrase, std::optional<std::uint32_t> slot = {}) {
  KeySlotChange change;
  change.new_secret = shared_secret(passphrase);
  change.key_slot = slot;
  change.iter_time_ms = 1;
  return change;
}

inline KeySlotChange erasing(std::string_view passphrase) {
  KeySlotChange change;
  change.activate = false;
  change.old_secret = shared_secret(passphrase);
  return change;
}

inline KeySlotChange erasing_slot(std::uint32_t slot) {
  KeySlotChange change;
  change.activate = false;
  change.key_slot = slot;
  return change;
}

inline KeySlotChange forced(KeySlotChange change) {
  change.force = true;
  return change;
}

}  // namespace qcowkit::test
