// Block ciphers against the vectors of their standards.
#include "crypto/block_cipher.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/crypto/hex.h"

namespace qcowkit::crypto {
namespace {

using test::from_hex;
using test::to_hex;

struct Vector {
  std::string algorithm;
  std::string source;
  std::string key;
  std::string plain;
  std::string encrypted;
};

const std::vector<Vector>& vectors() {
  static const std::vector<Vector> kVectors = {
      {"aes-128", "FIPS 197, C.1", "000102030405060708090a0b0c0d0e0f",
       "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"},
      {"aes-192", "FIPS 197, C.2", "000102030405060708090a0b0c0d0e0f1011121314151617",
       "00112233445566778899aabbccddeeff", "dda97ca4864cdfe06eaf70a0ec0d7191"},
      {"aes-256", "FIPS 197, C.3",
       "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
       "00112233445566778899aabbccddeeff", "8ea2b7ca516745bfeafc49904b496089"},
      {"cast5-128", "RFC 2144, B.1", "0123456712345678234567893456789a", "0123456789abcdef",
       "238b4fe5847e44b2"},
      {"serpent-128", "NESSIE, set 1 vector 0", "80000000000000000000000000000000",
       "00000000000000000000000000000000", "264e5481eff42a4606abda06c0bfda3d"},
      {"serpent-192", "NESSIE, set 1 vector 0", "800000000000000000000000000000000000000000000000",
       "00000000000000000000000000000000", "9e274ead9b737bb21efcfca548602689"},
      {"serpent-256", "NESSIE, set 1 vector 0",
       "8000000000000000000000000000000000000000000000000000000000000000",
       "00000000000000000000000000000000", "a223aa1288463c0e2be38ebd825616c0"},
      {"twofish-128", "Twofish paper, B.2", "00000000000000000000000000000000",
       "00000000000000000000000000000000", "9f589f5cf6122c32b6bfec2f2ae8c35a"},
      {"twofish-192", "Twofish paper, B.2", "0123456789abcdeffedcba98765432100011223344556677",
       "00000000000000000000000000000000", "cfd1d2e5a9be9cdf501f13b892bd2248"},
      {"twofish-256", "Twofish paper, B.2",
       "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff",
       "00000000000000000000000000000000", "37527be0052334b89f0cfccae87cfa20"},
  };
  return kVectors;
}

TEST(BlockCipher, StandardVectorsAreEncryptedAndDecrypted) {
  for (const Vector& vector : vectors()) {
    SCOPED_TRACE(vector.algorithm + ": " + vector.source);
    const BlockCipherAlgorithm* algorithm = find_block_cipher(vector.algorithm);
    ASSERT_NE(algorithm, nullptr);
    const BlockCipher cipher(*algorithm, from_hex(vector.key));
    std::vector<std::byte> block = from_hex(vector.plain);
    cipher.encrypt(block);
    EXPECT_EQ(to_hex(block), vector.encrypted);
    cipher.decrypt(block);
    EXPECT_EQ(to_hex(block), vector.plain);
  }
}

TEST(BlockCipher, EveryAlgorithmHasAVector) {
  for (const BlockCipherAlgorithm& algorithm : block_cipher_algorithms()) {
    bool has_vector = false;
    for (const Vector& vector : vectors()) {
      has_vector = has_vector || vector.algorithm == algorithm.name;
    }
    EXPECT_TRUE(has_vector) << algorithm.name;
  }
}

TEST(BlockCipher, SeveralBlocksAreEncryptedOneByOne) {
  const BlockCipher cipher(*find_block_cipher("aes-128"), from_hex(vectors()[0].key));
  std::vector<std::byte> blocks;
  for (int i = 0; i < 5; ++i) {
    const auto block = from_hex(vectors()[0].plain);
    blocks.insert(blocks.end(), block.begin(), block.end());
  }
  cipher.encrypt(blocks);
  for (std::size_t at = 0; at < blocks.size(); at += 16) {
    EXPECT_EQ(to_hex(std::span(blocks).subspan(at, 16)), vectors()[0].encrypted);
  }
}

TEST(BlockCipher, AlgorithmsAreFoundByFamilyAndLengthOfKey) {
  for (const BlockCipherAlgorithm& algorithm : block_cipher_algorithms()) {
    EXPECT_EQ(find_block_cipher(algorithm.name), &algorithm);
    EXPECT_EQ(find_block_cipher(algorithm.family, algorithm.key_bytes), &algorithm);
  }
  EXPECT_EQ(find_block_cipher("aes-512"), nullptr);
  EXPECT_EQ(find_block_cipher("aes", 20), nullptr);
  EXPECT_EQ(find_block_cipher("aes", 0), nullptr);
}

}  // namespace
}  // namespace qcowkit::crypto
