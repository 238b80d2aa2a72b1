// Modes of operation: how a block cipher encrypts sectors.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "crypto/block_cipher.h"
#include "crypto/initialisation_vector.h"
#include "crypto/sector_cipher.h"

namespace qcowkit::crypto {

enum class CipherMode : std::uint8_t { ecb, cbc, ctr, xts };

/// "xts" and so on; empty for no such name.
std::optional<CipherMode> find_cipher_mode(std::string_view name) noexcept;
std::string_view name_of(CipherMode mode) noexcept;

/// How many bytes of key a cipher in this mode takes.
std::size_t key_bytes_of(const BlockCipherAlgorithm& algorithm, CipherMode mode) noexcept;

/// `key` has `key_bytes_of` bytes. Mode ecb does not use `ivs`; xts needs blocks of 16 bytes, and
/// an essiv generator blocks as long as the algorithm's.
std::unique_ptr<SectorCipher> make_sector_cipher(const BlockCipherAlgorithm& algorithm,
                                                 CipherMode mode, IvGenerator ivs,
                                                 std::span<const std::byte> key);

}  // namespace qcowkit::crypto
