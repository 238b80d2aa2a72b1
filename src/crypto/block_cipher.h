// Block ciphers with a key.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "qcowkit/secret.h"

struct nettle_cipher;

namespace qcowkit::crypto {

/// A block cipher at one length of its key.
struct BlockCipherAlgorithm {
  std::string_view name;    ///< as options have it: "aes-256"
  std::string_view family;  ///< as LUKS headers have it: "aes"
  std::size_t key_bytes;
  std::size_t block_bytes;
  const nettle_cipher* implementation;
};

/// All that there are.
std::span<const BlockCipherAlgorithm> block_cipher_algorithms() noexcept;
/// Null if there is none.
const BlockCipherAlgorithm* find_block_cipher(std::string_view name) noexcept;
const BlockCipherAlgorithm* find_block_cipher(std::string_view family,
                                              std::size_t key_bytes) noexcept;

/// Thread-safe. The key is wiped at the end.
class BlockCipher {
 public:
  /// `key` has the algorithm's length.
  BlockCipher(const BlockCipherAlgorithm& algorithm, std::span<const std::byte> key);

  std::size_t block_bytes() const noexcept { return algorithm_.block_bytes; }

  /// Whole blocks, each by itself, in place.
  void encrypt(std::span<std::byte> blocks) const noexcept;
  void decrypt(std::span<std::byte> blocks) const noexcept;

  // What modes that the library has are called with.
  const nettle_cipher& implementation() const noexcept { return *algorithm_.implementation; }
  const void* encrypting_context() const noexcept { return encrypting_.bytes().data(); }
  const void* decrypting_context() const noexcept { return decrypting_.bytes().data(); }

 private:
  const BlockCipherAlgorithm& algorithm_;
  Secret encrypting_;
  Secret decrypting_;
};

}  // namespace qcowkit::crypto
