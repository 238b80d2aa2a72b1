// Initialisation vectors of sectors, made from their numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "crypto/block_cipher.h"

namespace qcowkit::crypto {

/// How a sector's number becomes its initialisation vector (LUKS names them in its cipher mode).
enum class IvRule : std::uint8_t {
  plain,    ///< the number's low 32 bits, little endian, padded with zeroes
  plain64,  ///< the number, little endian, padded with zeroes
  essiv,    ///< the latter, encrypted with a key of its own
};

/// Thread-safe.
class IvGenerator {
 public:
  /// For `plain` and `plain64`.
  explicit IvGenerator(IvRule rule) noexcept : rule_(rule) {}
  /// For `essiv`.
  explicit IvGenerator(BlockCipher cipher) : rule_(IvRule::essiv), cipher_(std::move(cipher)) {}

  /// Fills `into` with vectors of `iv_bytes` (at least 8) for sectors from `first_sector` on.
  void fill(std::uint64_t first_sector, std::size_t iv_bytes,
            std::span<std::byte> into) const noexcept;

 private:
  IvRule rule_;
  std::optional<BlockCipher> cipher_;
};

}  // namespace qcowkit::crypto
