// PBKDF2 against published vectors, and how iterations are chosen.
#include "crypto/key_derivation.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "qcowkit/error.h"
#include "tests/crypto/hex.h"

namespace qcowkit::crypto {
namespace {

using test::as_bytes_of;
using test::to_hex;

std::string derive(std::string_view hash, std::string_view passphrase, std::string_view salt,
                   std::uint32_t iterations, std::size_t key_bytes) {
  std::vector<std::byte> key(key_bytes);
  derive_key(*find_hash(hash), as_bytes_of(passphrase), as_bytes_of(salt), iterations, key);
  return to_hex(key);
}

// RFC 6070.
TEST(KeyDerivation, Sha1VectorsOfRfc6070) {
  EXPECT_EQ(derive("sha1", "password", "salt", 1, 20), "0c60c80f961f0e71f3a9b524af6012062fe037a6");
  EXPECT_EQ(derive("sha1", "password", "salt", 2, 20), "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957");
  EXPECT_EQ(derive("sha1", "password", "salt", 4096, 20),
            "4b007901b765489abead49d926f721d065a429c1");
  EXPECT_EQ(
      derive("sha1", "passwordPASSWORDpassword", "saltSALTsaltSALTsaltSALTsaltSALTsalt", 4096, 25),
      "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038");
  EXPECT_EQ(
      derive("sha1", std::string_view("pass\0word", 9), std::string_view("sa\0lt", 5), 4096, 16),
      "56fa6aa75548099dcc37d7f03425e0c3");
}

// RFC 7914, section 11.
TEST(KeyDerivation, Sha256VectorOfRfc7914) {
  EXPECT_EQ(derive("sha256", "passwd", "salt", 1, 64),
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
            "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783");
}

TEST(KeyDerivation, AShortKeyIsTheStartOfALongOne) {
  const std::string whole = derive("sha512", "password", "salt", 10, 200);
  for (const std::size_t bytes : {1, 63, 64, 65, 128, 199}) {
    EXPECT_EQ(derive("sha512", "password", "salt", 10, bytes), whole.substr(0, 2 * bytes));
  }
}

TEST(KeyDerivation, IterationsScaleWithTimeAndLengthOfKey) {
  const HashAlgorithm& sha256 = *find_hash("sha256");
  EXPECT_EQ(iterations_for(1e6, sha256, 32, 2000), 2'000'000u);
  EXPECT_EQ(iterations_for(1e6, sha256, 64, 2000), 1'000'000u);
  EXPECT_EQ(iterations_for(1e6, sha256, 33, 2000), 1'000'000u);
  EXPECT_EQ(iterations_for(1e6, sha256, 20, 500), 500'000u);
}

TEST(KeyDerivation, IterationsStayWithinTheirBounds) {
  const HashAlgorithm& sha256 = *find_hash("sha256");
  EXPECT_EQ(iterations_for(1e6, sha256, 32, 0.01), kIterationsMin);
  EXPECT_EQ(iterations_for(1e6, sha256, 32, 4e6), kDigestsMax);
  EXPECT_EQ(iterations_for(1e6, sha256, 64, 4e6), kDigestsMax / 2);
}

TEST(KeyDerivation, MoreIterationsThanAHeaderHoldsAreRefused) {
  const HashAlgorithm& sha256 = *find_hash("sha256");
  EXPECT_THROW(iterations_for(1e6, sha256, 32, 5e6), Error);
  EXPECT_THROW(iterations_for(1e6, sha256, 32, 1.8e19), Error);
}

TEST(KeyDerivation, MeasuredSpeedIsThatOfARealMachine) {
  for (const double time_ms : {0.0, 1.0, 2000.0}) {
    const double per_second = measure_iterations_per_second(*find_hash("sha256"), time_ms);
    EXPECT_GT(per_second, 1e4);
    EXPECT_LT(per_second, 1e10);
  }
}

}  // namespace
}  // namespace qcowkit::crypto
