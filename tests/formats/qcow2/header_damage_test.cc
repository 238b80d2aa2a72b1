// Headers that end too early, and random damage to rich ones.
#include "formats/qcow2/header.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <random>

#include "qcowkit/error.h"
#include "tests/formats/qcow2/header_expectations.h"
#include "tests/formats/qcow2/header_fixture.h"

namespace qcowkit::qcow2 {
namespace {

using namespace test;

TEST(Header, TruncatedHeaderIsRefusedAtEveryLength) {
  for (const std::uint32_t version : {2u, 3u}) {
    const auto bytes = HeaderBytes(version).bytes();
    const std::size_t needed = version == 2 ? kHeaderBytesV2 : sizeof(RawHeader);
    for (std::size_t length = 0; length < needed; ++length) {
      const auto refusal = refusal_of(std::span(bytes).first(length));
      ASSERT_TRUE(refusal) << length;
      EXPECT_EQ(refusal->code, length < 8 ? Errc::not_an_image : Errc::corrupt) << length;
    }
    EXPECT_FALSE(refusal_of(std::span(bytes).first(needed)));
  }
}

TEST(Header, TruncatedExtensionIsRefusedAtEveryLength) {
  HeaderBytes header;
  header.extend(extension::kBackingFormat, "qcow2").extend(5, "unknown data");
  header.extend(extension::kEnd, "");
  const auto bytes = header.bytes();
  for (std::size_t length = sizeof(RawHeader); length <= header.extensions_end(); ++length) {
    const bool inside_first = length >= 120 && length < 125;
    const bool inside_second = length >= 136 && length < 148;
    EXPECT_EQ(refusal_of(std::span(bytes).first(length)).has_value(), inside_first || inside_second)
        << length;
  }
}

TEST(Header, RandomDamageIsRefusedOrDecodedNeverWorse) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    const HeaderBytes header = rich_header(random);
    auto bytes = header.bytes();
    bytes.resize(512);
    for (auto flips = 1 + random() % 4; flips > 0; --flips) {
      bytes[random() % header.extensions_end()] = static_cast<std::byte>(random());
    }
    if (random() % 8 == 0) bytes.resize(random() % bytes.size());
    try {
      const Header decoded = Header::decode(bytes, random() % 2 == 0);
      ++accepted;
      // What was accepted can be written, unless it was padded to the last byte, and read again.
      const auto again = Header::decode(decoded.encode(), true);
      EXPECT_EQ(again.size, decoded.size);
      EXPECT_EQ(again.backing_file, decoded.backing_file);
    } catch (const Error& e) {
      EXPECT_NE(e.message(), "");
    }
  }
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace qcowkit::qcow2
