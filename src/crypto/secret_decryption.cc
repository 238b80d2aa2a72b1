// Secrets that are handed over encrypted.
#include <fmt/core.h>

#include <algorithm>
#include <functional>

#include "crypto/block_cipher.h"
#include "qcowkit/error.h"
#include "qcowkit/secret.h"

namespace qcowkit {

namespace {

constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kBlockBytes = 16;

void require(bool holds, const std::string& message) {
  if (!holds) throw Error(Errc::invalid_argument, message);
}

}  // namespace

Secret decrypt_secret(const Secret& ciphertext, const Secret& key,
                      const Secret& initialisation_vector) {
  require(key.size() == kKeyBytes, fmt::format("Key should be {} bytes in length", kKeyBytes));
  require(initialisation_vector.size() == kBlockBytes,
          fmt::format("IV should be {} bytes in length not {}", kBlockBytes,
                      initialisation_vector.size()));
  require(
      ciphertext.size() % kBlockBytes == 0,
      fmt::format("Length {} must be a multiple of block size {}", ciphertext.size(), kBlockBytes));
  if (ciphertext.empty()) return {};

  Secret plain(ciphertext);
  crypto::BlockCipher(*crypto::find_block_cipher("aes-256"), key.bytes()).decrypt(plain.bytes());
  // Each block was mixed with the encrypted one before it, the first with the vector.
  std::span<const std::byte> before = initialisation_vector.bytes();
  for (std::size_t offset = 0; offset < plain.size(); offset += kBlockBytes) {
    const std::span<std::byte> block = plain.bytes().subspan(offset, kBlockBytes);
    std::ranges::transform(block, before, block.begin(), std::bit_xor<>());
    before = ciphertext.bytes().subspan(offset, kBlockBytes);
  }
  const auto padding = std::to_integer<std::size_t>(plain.bytes().back());
  require(padding >= 1 && padding <= kBlockBytes,
          fmt::format("Incorrect number of padding bytes ({}) found on decrypted data", padding));
  return Secret(plain.bytes().first(plain.size() - padding));
}

}  // namespace qcowkit
