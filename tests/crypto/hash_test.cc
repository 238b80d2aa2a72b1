// Hashes against the vectors of their standards.
#include "crypto/hash.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "tests/crypto/hex.h"

namespace qcowkit::crypto {
namespace {

using test::as_bytes_of;
using test::to_hex;

std::string digest_of(const HashAlgorithm& algorithm, std::string_view text) {
  std::vector<std::byte> digest(algorithm.digest_bytes);
  Hasher hasher(algorithm);
  hasher.update(as_bytes_of(text));
  hasher.digest(digest);
  return to_hex(digest);
}

TEST(Hash, DigestsOfAbcAreTheStandards) {
  const std::map<std::string_view, std::string> kDigests = {
      {"md5", "900150983cd24fb0d6963f7d28e17f72"},
      {"sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"},
      {"sha224", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"},
      {"sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"sha384",
       "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
       "8086072ba1e7cc2358baeca134c825a7"},
      {"sha512",
       "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
       "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
      {"ripemd160", "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"},
  };
  EXPECT_EQ(hash_algorithms().size(), kDigests.size());
  for (const HashAlgorithm& algorithm : hash_algorithms()) {
    SCOPED_TRACE(algorithm.name);
    ASSERT_TRUE(kDigests.contains(algorithm.name));
    EXPECT_EQ(digest_of(algorithm, "abc"), kDigests.at(algorithm.name));
    EXPECT_EQ(find_hash(algorithm.name), &algorithm);
    EXPECT_LE(algorithm.digest_bytes, kDigestBytesMax);
  }
}

TEST(Hash, PiecesHashLikeTheWholeAndADigestStartsAnew) {
  const HashAlgorithm& sha256 = *find_hash("sha256");
  Hasher hasher(sha256);
  for (int round = 0; round < 2; ++round) {
    std::vector<std::byte> digest(sha256.digest_bytes);
    hasher.update(as_bytes_of("a"));
    hasher.update({});
    hasher.update(as_bytes_of("bc"));
    hasher.digest(digest);
    EXPECT_EQ(to_hex(digest), digest_of(sha256, "abc"));
  }
}

TEST(Hash, AShortDigestIsTheStartOfTheWhole) {
  const HashAlgorithm& sha256 = *find_hash("sha256");
  std::vector<std::byte> digest(5);
  Hasher hasher(sha256);
  hasher.update(as_bytes_of("abc"));
  hasher.digest(digest);
  EXPECT_EQ(to_hex(digest), digest_of(sha256, "abc").substr(0, 10));
}

TEST(Hash, UnknownNameIsNotFound) {
  EXPECT_EQ(find_hash("whirlpool"), nullptr);
  EXPECT_EQ(find_hash(""), nullptr);
}

}  // namespace
}  // namespace qcowkit::crypto
