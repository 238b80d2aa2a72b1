#include "crypto/block_cipher.h"

#include <nettle/nettle-meta.h>

#include <array>
#include <cassert>
#include <cstdint>

namespace qcowkit::crypto {

namespace {

constexpr std::array kAlgorithms = {
    BlockCipherAlgorithm{"aes-128", "aes", 16, 16, &nettle_aes128},
    BlockCipherAlgorithm{"aes-192", "aes", 24, 16, &nettle_aes192},
    BlockCipherAlgorithm{"aes-256", "aes", 32, 16, &nettle_aes256},
    BlockCipherAlgorithm{"cast5-128", "cast5", 16, 8, &nettle_cast128},
    BlockCipherAlgorithm{"serpent-128", "serpent", 16, 16, &nettle_serpent128},
    BlockCipherAlgorithm{"serpent-192", "serpent", 24, 16, &nettle_serpent192},
    BlockCipherAlgorithm{"serpent-256", "serpent", 32, 16, &nettle_serpent256},
    BlockCipherAlgorithm{"twofish-128", "twofish", 16, 16, &nettle_twofish128},
    BlockCipherAlgorithm{"twofish-192", "twofish", 24, 16, &nettle_twofish192},
    BlockCipherAlgorithm{"twofish-256", "twofish", 32, 16, &nettle_twofish256},
};

std::uint8_t* octets(std::span<std::byte> bytes) noexcept {
  return reinterpret_cast<std::uint8_t*>(bytes.data());
}

}  // namespace

std::span<const BlockCipherAlgorithm> block_cipher_algorithms() noexcept { return kAlgorithms; }

const BlockCipherAlgorithm* find_block_cipher(std::string_view name) noexcept {
  for (const BlockCipherAlgorithm& algorithm : kAlgorithms) {
    if (algorithm.name == name) return &algorithm;
  }
  return nullptr;
}

const BlockCipherAlgorithm* find_block_cipher(std::string_view family,
                                              std::size_t key_bytes) noexcept {
  for (const BlockCipherAlgorithm& algorithm : kAlgorithms) {
    if (algorithm.family == family && algorithm.key_bytes == key_bytes) return &algorithm;
  }
  return nullptr;
}

BlockCipher::BlockCipher(const BlockCipherAlgorithm& algorithm, std::span<const std::byte> key)
    : algorithm_(algorithm),
      encrypting_(Secret::of_size(algorithm.implementation->context_size)),
      decrypting_(Secret::of_size(algorithm.implementation->context_size)) {
  assert(key.size() == algorithm.key_bytes);
  assert(algorithm.implementation->key_size == algorithm.key_bytes);
  assert(algorithm.implementation->block_size == algorithm.block_bytes);
  const auto* key_octets = reinterpret_cast<const std::uint8_t*>(key.data());
  algorithm.implementation->set_encrypt_key(encrypting_.bytes().data(), key_octets);
  algorithm.implementation->set_decrypt_key(decrypting_.bytes().data(), key_octets);
}

void BlockCipher::encrypt(std::span<std::byte> blocks) const noexcept {
  implementation().encrypt(encrypting_context(), blocks.size(), octets(blocks), octets(blocks));
}

void BlockCipher::decrypt(std::span<std::byte> blocks) const noexcept {
  implementation().decrypt(decrypting_context(), blocks.size(), octets(blocks), octets(blocks));
}

}  // namespace qcowkit::crypto
