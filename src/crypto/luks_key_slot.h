// A key slot's key material: the master key, split and encrypted with a key made from a passphrase.
#pragma once

#include <cstddef>
#include <optional>

#include "crypto/luks.h"
#include "crypto/luks_header.h"
#include "qcowkit/secret.h"

namespace qcowkit::crypto {

/// A new master key, which `header` is told how to recognise; that takes `iterations`.
Secret make_master_key(LuksHeader& header, std::uint32_t iterations);

/// The master key, if `passphrase` opens this slot, which is active.
std::optional<Secret> open_key_slot(const LuksArea& area, const LuksHeader& header,
                                    std::size_t index, const Secret& passphrase);

/// Writes key material from which `passphrase` gets `master_key` back, under a new salt. Returns
/// what the header is to say of the slot, which is inactive so far.
LuksKeySlot fill_key_slot(const LuksArea& area, const LuksHeader& header, std::size_t index,
                          const Secret& passphrase, const Secret& master_key,
                          std::uint32_t iterations);

/// Overwrites the key material several times with random bytes, each time durably.
void wipe_key_material(const LuksArea& area, const LuksHeader& header, std::size_t index);

}  // namespace qcowkit::crypto
