// A LUKS version 1 volume's header and key material, wherever they lie (LUKS On-Disk Format
// Specification 1.2).
#pragma once

#include <cstdint>
#include <memory>

#include "base/offsets.h"
#include "crypto/sector_cipher.h"
#include "qcowkit/info.h"
#include "qcowkit/options.h"
#include "qcowkit/storage.h"

namespace qcowkit::crypto {

/// Where a LUKS header lies: `length_bytes` from `host_offset` on. Nothing outside is touched.
struct LuksArea {
  Storage& storage;
  HostOffset host_offset{};
  std::uint64_t length_bytes = 0;
};

/// An existing header. Not thread-safe; the caller sees to it that nobody else changes the area.
class LuksVolume {
 public:
  /// Reads and checks the header. Throws `Error`: not_an_image, corrupt (naming field, value and
  /// expectation), unsupported (naming what is), I/O errors.
  explicit LuksVolume(const LuksArea& area);
  ~LuksVolume();

  LuksInfo info() const;
  /// Where encrypted data starts, in bytes from the area's start.
  std::uint64_t payload_offset_bytes() const noexcept;

  /// The cipher for the payload. Throws `Error` (invalid_argument) if the passphrase opens no slot.
  std::unique_ptr<SectorCipher> unlock(const Secret& passphrase) const;

  /// Adds or erases key slots, durably. `present` opens the volume (needed where a slot is added).
  /// After a crash in between, every passphrase opens it that was not to be erased or replaced, and
  /// where the only one was to be replaced, the old or the new one does. What is erased is first
  /// overwritten and only then marked inactive: it cannot come back.
  /// Throws `Error` (invalid_argument) for what cannot be done.
  void change_key_slots(const Secret& present, const KeySlotChange& change);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Checks the options and says how many bytes the header and key material of a new volume take,
/// which is also its payload offset. Throws `Error` (invalid_argument or unsupported, naming the
/// option).
std::uint64_t luks_header_bytes(const LuksOptions& options);

/// Writes header and key material of a new volume with one passphrase, and returns its cipher. Not
/// durable before the caller flushes. Throws as above.
std::unique_ptr<SectorCipher> create_luks(const LuksArea& area, const LuksOptions& options,
                                          const Secret& passphrase);

}  // namespace qcowkit::crypto
