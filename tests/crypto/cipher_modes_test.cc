// Modes of operation against IEEE 1619's vectors and against their plain definitions.
#include "crypto/cipher_modes.h"

#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "tests/crypto/hex.h"
#include "tests/support/content.h"

namespace qcowkit::crypto {
namespace {

using test::from_hex;
using test::make_content;
using test::to_hex;
using Bytes = std::vector<std::byte>;

constexpr CipherMode kModes[] = {CipherMode::ecb, CipherMode::cbc, CipherMode::ctr,
                                 CipherMode::xts};

Bytes make_key(const BlockCipherAlgorithm& algorithm, CipherMode mode) {
  return make_content(7, key_bytes_of(algorithm, mode));
}

std::unique_ptr<SectorCipher> make_cipher(const BlockCipherAlgorithm& algorithm, CipherMode mode) {
  return make_sector_cipher(algorithm, mode, IvGenerator(IvRule::plain64),
                            make_key(algorithm, mode));
}

bool fits(const BlockCipherAlgorithm& algorithm, CipherMode mode) {
  return mode != CipherMode::xts || algorithm.block_bytes == 16;
}

void join(std::span<std::byte> to, std::span<const std::byte> what) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] ^= what[i];
}

/// The modes as books define them, a block at a time.
class PlainDefinition {
 public:
  PlainDefinition(const BlockCipherAlgorithm& algorithm, CipherMode mode)
      : mode_(mode),
        block_(algorithm.block_bytes),
        cipher_(algorithm, std::span(key_of(algorithm, mode)).first(algorithm.key_bytes)),
        tweak_(algorithm, std::span(key_of(algorithm, mode)).last(algorithm.key_bytes)) {}

  void encrypt(std::uint64_t number, std::span<std::byte> sector) const {
    Bytes state(block_);
    for (int i = 0; i < 8; ++i) state[i] = static_cast<std::byte>(number >> (8 * i));
    if (mode_ == CipherMode::xts) tweak_.encrypt(state);
    for (std::size_t at = 0; at < sector.size(); at += block_) {
      encrypt_block(state, sector.subspan(at, block_));
    }
  }

 private:
  static Bytes& key_of(const BlockCipherAlgorithm& algorithm, CipherMode mode) {
    static Bytes key;
    key = make_key(algorithm, mode);
    return key;
  }

  void encrypt_block(Bytes& state, std::span<std::byte> block) const {
    switch (mode_) {
      case CipherMode::ecb:
        cipher_.encrypt(block);
        return;
      case CipherMode::cbc:
        join(block, state);
        cipher_.encrypt(block);
        state.assign(block.begin(), block.end());
        return;
      case CipherMode::ctr: {
        Bytes stream = state;
        cipher_.encrypt(stream);
        join(block, stream);
        count_up(state);
        return;
      }
      case CipherMode::xts:
        join(block, state);
        cipher_.encrypt(block);
        join(block, state);
        double_in_field(state);
        return;
    }
  }

  static void count_up(Bytes& counter) {
    for (std::size_t i = counter.size(); i-- > 0;) {
      counter[i] = static_cast<std::byte>(std::to_integer<unsigned>(counter[i]) + 1);
      if (counter[i] != std::byte{0}) return;
    }
  }

  static void double_in_field(Bytes& tweak) {
    unsigned carry = 0;
    for (std::byte& b : tweak) {
      const unsigned doubled = std::to_integer<unsigned>(b) * 2 + carry;
      b = static_cast<std::byte>(doubled);
      carry = doubled >> 8;
    }
    if (carry != 0) tweak[0] ^= std::byte{0x87};
  }

  const CipherMode mode_;
  const std::size_t block_;
  const BlockCipher cipher_;
  const BlockCipher tweak_;
};

TEST(CipherModes, AllAlgorithmsModesAndLengthsFollowTheDefinition) {
  for (const BlockCipherAlgorithm& algorithm : block_cipher_algorithms()) {
    for (const CipherMode mode : kModes) {
      if (!fits(algorithm, mode)) continue;
      SCOPED_TRACE(std::string(algorithm.name) + "-" + std::string(name_of(mode)));
      const auto cipher = make_cipher(algorithm, mode);
      const PlainDefinition definition(algorithm, mode);
      // Around the number of sectors that are worked on at once, and across 32 bits of number.
      for (const std::uint64_t sectors : {1, 2, 7, 8, 9, 16, 19}) {
        const std::uint64_t first = 0xfffffffa;
        const Bytes plain = make_content(4 * sectors + 3, sectors * kSectorBytes);
        Bytes expected = plain;
        for (std::uint64_t i = 0; i < sectors; ++i) {
          definition.encrypt(first + i,
                             std::span(expected).subspan(i * kSectorBytes, kSectorBytes));
        }
        Bytes bytes = plain;
        cipher->encrypt(first, bytes);
        EXPECT_EQ(bytes, expected) << sectors << " sectors";
        cipher->decrypt(first, bytes);
        EXPECT_EQ(bytes, plain) << sectors << " sectors";
      }
    }
  }
}

/// IEEE 1619-2007, Annex B: data units of 512 bytes that count from 00 to ff, twice.
struct XtsVector {
  std::string algorithm;
  std::string key;
  std::uint64_t data_unit;
  std::string first_blocks;
};

TEST(CipherModes, XtsVectorsOfIeee1619) {
  const XtsVector kVectors[] = {
      {"aes-128", "2718281828459045235360287471352631415926535897932384626433832795", 0,
       "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c"},
      {"aes-256",
       "2718281828459045235360287471352662497757247093699959574966967627"
       "3141592653589793238462643383279502884197169399375105820974944592",
       0xff, "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b"},
  };
  for (const XtsVector& vector : kVectors) {
    SCOPED_TRACE(vector.algorithm);
    const auto cipher = make_sector_cipher(*find_block_cipher(vector.algorithm), CipherMode::xts,
                                           IvGenerator(IvRule::plain64), from_hex(vector.key));
    Bytes sector(kSectorBytes);
    for (std::size_t i = 0; i < sector.size(); ++i) sector[i] = static_cast<std::byte>(i);
    cipher->encrypt(vector.data_unit, sector);
    EXPECT_EQ(to_hex(std::span(sector).first(32)), vector.first_blocks);
  }
}

TEST(CipherModes, NoBytesAreNoWork) {
  for (const CipherMode mode : kModes) {
    const auto cipher = make_cipher(*find_block_cipher("aes-128"), mode);
    cipher->encrypt(0, {});
    cipher->decrypt(0, {});
  }
}

TEST(CipherModes, NamesAndModesBelongTogether) {
  for (const CipherMode mode : kModes) EXPECT_EQ(find_cipher_mode(name_of(mode)), mode);
  EXPECT_FALSE(find_cipher_mode("gcm"));
  EXPECT_FALSE(find_cipher_mode(""));
}

}  // namespace
}  // namespace qcowkit::crypto
