// Moving guest data between a caller's plain bytes and encrypted sectors on the host.
#pragma once

#include <cstdint>
#include <span>

#include "base/offsets.h"
#include "crypto/sector_cipher.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// Where a run of encrypted bytes lies and how its sectors are numbered.
struct EncryptedRun {
  Storage& storage;
  const crypto::SectorCipher& cipher;
  HostOffset host_offset{};  ///< of the run's first byte
  /// Where that byte lies in the space whose sectors are numbered, in bytes: in a plain LUKS volume
  /// and with the old AES method the guest offset, with LUKS in qcow2 the host offset. The run's
  /// alignment within a sector; `host_offset` has the same.
  std::uint64_t cipher_offset = 0;

  /// The part that starts `bytes` further on.
  EncryptedRun from(std::uint64_t bytes) const noexcept {
    return {storage, cipher, host_offset + bytes, cipher_offset + bytes};
  }
};

/// Fills `into` from the run's start on; no alignment is asked of either end. One request to the
/// storage, and no memory but the caller's. Thread-safe.
void read_encrypted(const EncryptedRun& run, std::span<std::byte> into);

/// Writes `from`, encrypted, through a small buffer. Where an end lies within a sector, the rest of
/// that sector is read and written back: the caller sees to it that nobody else writes to it
/// meanwhile. Thread-safe apart from that.
void write_encrypted(const EncryptedRun& run, std::span<const std::byte> from);

/// The same with zeroes: what is stored is what decrypts to them.
void write_encrypted_zeroes(const EncryptedRun& run, std::uint64_t length_bytes);

}  // namespace qcowkit
