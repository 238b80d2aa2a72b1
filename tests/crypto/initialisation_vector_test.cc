// Initialisation vectors by their definitions.
#include "crypto/initialisation_vector.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/crypto/hex.h"
#include "tests/support/content.h"

namespace qcowkit::crypto {
namespace {

using test::make_content;
using test::to_hex;
using Bytes = std::vector<std::byte>;

TEST(InitialisationVector, PlainForgetsTheUpperBitsAndPlain64DoesNot) {
  Bytes ivs(32);
  IvGenerator(IvRule::plain).fill(0x1ffffffff, 16, ivs);
  EXPECT_EQ(to_hex(ivs),
            "ffffffff000000000000000000000000"
            "00000000000000000000000000000000");
  IvGenerator(IvRule::plain64).fill(0x1ffffffff, 16, ivs);
  EXPECT_EQ(to_hex(ivs),
            "ffffffff010000000000000000000000"
            "00000000020000000000000000000000");
}

TEST(InitialisationVector, ShortBlocksHaveShortVectors) {
  Bytes ivs(16);
  IvGenerator(IvRule::plain64).fill(0x0102030405060708, 8, ivs);
  EXPECT_EQ(to_hex(ivs), "08070605040302010907060504030201");
}

TEST(InitialisationVector, EssivIsTheEncryptedPlain64) {
  const BlockCipherAlgorithm& aes = *find_block_cipher("aes-256");
  const Bytes key = make_content(11, 32);
  Bytes expected(48);
  IvGenerator(IvRule::plain64).fill(77, 16, expected);
  BlockCipher(aes, key).encrypt(expected);
  Bytes ivs(48);
  IvGenerator(BlockCipher(aes, key)).fill(77, 16, ivs);
  EXPECT_EQ(ivs, expected);
}

}  // namespace
}  // namespace qcowkit::crypto
