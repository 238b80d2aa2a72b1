// The anti-forensic splitter.
#include "crypto/anti_forensic.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/endian.h"
#include "tests/crypto/hex.h"
#include "tests/support/content.h"

namespace qcowkit::crypto {
namespace {

using test::make_content;
using Bytes = std::vector<std::byte>;

Secret make_secret(std::size_t size_bytes) {
  return Secret(std::span<const std::byte>(make_content(3, size_bytes)));
}

std::string text(const Secret& secret) { return test::to_hex(secret.bytes()); }

TEST(AntiForensic, WhatWasSplitMergesToTheSecret) {
  for (const HashAlgorithm& hash : hash_algorithms()) {
    // Shorter than a digest, as long as one, and with a rest.
    for (const std::size_t size_bytes : {16, 20, 24, 32, 48, 64}) {
      for (const std::uint32_t stripes : {1, 2, 3, 40}) {
        const Secret secret = make_secret(size_bytes);
        Bytes split(stripes * size_bytes);
        split_secret(hash, secret, stripes, split);
        EXPECT_EQ(text(merge_secret(hash, size_bytes, stripes, split)), text(secret))
            << hash.name << ", " << size_bytes << " bytes, " << stripes << " stripes";
      }
    }
  }
}

TEST(AntiForensic, EveryByteIsNeeded) {
  const HashAlgorithm& sha1 = *find_hash("sha1");
  const Secret secret = make_secret(32);
  Bytes split(5 * secret.size());
  split_secret(sha1, secret, 5, split);
  for (std::byte& b : split) {
    b ^= std::byte{1};
    EXPECT_NE(text(merge_secret(sha1, secret.size(), 5, split)), text(secret));
    b ^= std::byte{1};
  }
}

TEST(AntiForensic, SplittingTwiceGivesDifferentBytes) {
  const HashAlgorithm& sha1 = *find_hash("sha1");
  Bytes first(64), second(64);
  split_secret(sha1, make_secret(32), 2, first);
  split_secret(sha1, make_secret(32), 2, second);
  EXPECT_NE(first, second);
}

// The specification's H2: digests of numbered pieces, the last one cut off.
TEST(AntiForensic, TwoStripesMergeByTheDefinition) {
  const HashAlgorithm& sha1 = *find_hash("sha1");
  const Bytes split = make_content(7, 2 * 32);
  Bytes expected(split.begin() + 32, split.end());
  for (std::uint32_t piece = 0; piece < 2; ++piece) {
    const std::size_t begin = piece * 20;
    const std::size_t length = std::min<std::size_t>(20, 32 - begin);
    const be32 number = piece;
    Bytes digest(20);
    Hasher hasher(sha1);
    hasher.update(std::as_bytes(std::span(&number, 1)));
    hasher.update(std::span(split).subspan(begin, length));
    hasher.digest(digest);
    for (std::size_t i = 0; i < length; ++i) expected[begin + i] ^= digest[i];
  }
  EXPECT_EQ(text(merge_secret(sha1, 32, 2, split)), test::to_hex(expected));
}

}  // namespace
}  // namespace qcowkit::crypto
