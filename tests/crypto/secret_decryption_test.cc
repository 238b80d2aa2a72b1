// Secrets that are handed over encrypted: what comes out, and what is refused.
#include <gtest/gtest.h>

#include <string>

#include "crypto/block_cipher.h"
#include "qcowkit/error.h"
#include "qcowkit/secret.h"

namespace qcowkit {
namespace {

const Secret kKey(std::string_view("0123456789abcdef0123456789abcdef"));
const Secret kVector(std::string_view("abcdefghijklmnop"));
constexpr std::size_t kBlockBytes = 16;

/// `padded` encrypted; its length is that of whole blocks.
Secret encrypted(const std::string& padded) {
  Secret bytes{std::string_view(padded)};
  const crypto::BlockCipher cipher(*crypto::find_block_cipher("aes-256"), kKey.bytes());
  std::span<const std::byte> before = kVector.bytes();
  for (std::size_t offset = 0; offset < bytes.size(); offset += kBlockBytes) {
    const std::span<std::byte> block = bytes.bytes().subspan(offset, kBlockBytes);
    for (std::size_t i = 0; i < kBlockBytes; ++i) block[i] ^= before[i];
    cipher.encrypt(block);
    before = block;
  }
  return bytes;
}

std::string with_padding(const std::string& text) {
  const std::size_t padding = kBlockBytes - text.size() % kBlockBytes;
  return text + std::string(padding, static_cast<char>(padding));
}

std::string text_of(const Secret& secret) {
  return {reinterpret_cast<const char*>(secret.bytes().data()), secret.size()};
}

std::string error_of(const Secret& ciphertext, const Secret& key, const Secret& vector) {
  try {
    decrypt_secret(ciphertext, key, vector);
    return "";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), make_error_code(Errc::invalid_argument));
    return e.what();
  }
}

TEST(SecretDecryption, TextOfAnyLengthComesOut) {
  for (std::size_t size = 0; size <= 3 * kBlockBytes; ++size) {
    const std::string text(size, 'x');
    EXPECT_EQ(text_of(decrypt_secret(encrypted(with_padding(text)), kKey, kVector)), text);
  }
}

TEST(SecretDecryption, NothingStaysNothing) {
  EXPECT_TRUE(decrypt_secret(Secret(), kKey, kVector).empty());
}

TEST(SecretDecryption, WrongLengthsAreRefused) {
  const Secret some = encrypted(with_padding("x"));
  EXPECT_EQ(error_of(some, kVector, kVector), "Key should be 32 bytes in length");
  EXPECT_EQ(error_of(some, kKey, kKey), "IV should be 16 bytes in length not 32");
  EXPECT_EQ(error_of(Secret(std::string_view("abc")), kKey, kVector),
            "Length 3 must be a multiple of block size 16");
}

TEST(SecretDecryption, PaddingThatNoEncryptionAddsIsRefused) {
  for (const char last : {'\0', '\x11', '\x7f'}) {
    const std::string block = std::string(kBlockBytes - 1, 'x') + last;
    EXPECT_NE(error_of(encrypted(block), kKey, kVector).find("padding bytes"), std::string::npos);
  }
}

}  // namespace
}  // namespace qcowkit
