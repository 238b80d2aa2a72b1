// What encrypts guest data, sector by sector.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/sector.h"
#include "qcowkit/secret.h"

namespace qcowkit::crypto {

/// A cipher with its key and its rule for initialisation vectors. Each sector of 512 bytes is
/// encrypted by itself, in place; its number decides its initialisation vector. Thread-safe.
class SectorCipher {
 public:
  virtual ~SectorCipher() = default;
  SectorCipher() = default;
  SectorCipher(const SectorCipher&) = delete;
  SectorCipher& operator=(const SectorCipher&) = delete;

  /// `bytes` are whole sectors, the first of which has the number `first_sector`.
  virtual void encrypt(std::uint64_t first_sector, std::span<std::byte> bytes) const = 0;
  virtual void decrypt(std::uint64_t first_sector, std::span<std::byte> bytes) const = 0;
};

/// The old method of QCOW and QCOW2 (crypt_method 1): AES-128-CBC, the key being the first 16 bytes
/// of the password padded with zeroes, the initialisation vector the sector's number (little
/// endian, 64 bits).
std::unique_ptr<SectorCipher> make_old_aes_cipher(const Secret& password);

}  // namespace qcowkit::crypto
