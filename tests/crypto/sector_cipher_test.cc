// The old AES method.
#include "crypto/sector_cipher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

#include "crypto/cipher_modes.h"
#include "tests/support/content.h"

namespace qcowkit::crypto {
namespace {

using test::make_content;
using Bytes = std::vector<std::byte>;

TEST(OldAesCipher, IsCbcWithThePasswordAsItsKey) {
  const Bytes plain = make_content(3, 3 * kSectorBytes);
  for (const std::string_view password :
       {"", "short", "sixteen bytes ok", "longer than 16 bytes"}) {
    Bytes key(16);
    std::memcpy(key.data(), password.data(), std::min<std::size_t>(16, password.size()));
    Bytes expected = plain;
    make_sector_cipher(*find_block_cipher("aes-128"), CipherMode::cbc, IvGenerator(IvRule::plain64),
                       key)
        ->encrypt(5, expected);
    Bytes bytes = plain;
    make_old_aes_cipher(Secret(password))->encrypt(5, bytes);
    EXPECT_EQ(bytes, expected) << '"' << password << '"';
  }
}

}  // namespace
}  // namespace qcowkit::crypto
