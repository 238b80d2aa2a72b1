// Writing the header: what was read is written again, and as the reference lays it out.
#include "formats/qcow2/header.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/endian.h"
#include "formats/qcow2/header_extensions.h"
#include "qcowkit/error.h"
#include "tests/formats/qcow2/header_fixture.h"

namespace qcowkit::qcow2 {
namespace {

using namespace test;

TEST(Header, EncodedHeaderDecodesToTheSame) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    const auto bytes = rich_header(random).bytes();
    const Header header = Header::decode(bytes);
    const auto encoded = header.encode();
    const Header again = Header::decode(encoded);
    EXPECT_EQ(again.encode(), encoded);
    EXPECT_EQ(again.backing_file_offset(), header.backing_file_offset());
    EXPECT_EQ(again.bitmaps.has_value(), header.bitmaps.has_value());
    EXPECT_EQ(again.encryption.has_value(), header.encryption.has_value());
    EXPECT_EQ(again.backing_format, header.backing_format);
    EXPECT_EQ(again.data_file, header.data_file);
  }
}

TEST(Header, UnknownExtensionsSurviveByteForByte) {
  HeaderBytes bytes;
  const std::string odd("odd \0 length", 12);
  bytes.extend(0x12345678, odd).extend(extension::kBackingFormat, "raw").extend(0x12345678, "");
  const auto encoded = Header::decode(bytes.bytes()).encode();
  const auto found =
      decode_extensions(std::span(encoded).subspan(sizeof(RawHeader)), sizeof(RawHeader));
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].type, extension::kBackingFormat);
  EXPECT_EQ(found[1].type, 0x12345678u);
  EXPECT_TRUE(std::ranges::equal(found[1].data, std::as_bytes(std::span(odd))));
  EXPECT_EQ(found[2].type, 0x12345678u);
  EXPECT_TRUE(found[2].data.empty());
}

TEST(Header, UnknownFieldsAndPaddingSurvive) {
  HeaderBytes bytes;
  bytes.raw.header_length = 128;
  bytes.raw.padding.fill(std::byte{0xaa});
  bytes.put(112, "unknown fields..");
  const auto before = bytes.bytes();
  const auto after = Header::decode(before).encode();
  EXPECT_TRUE(std::equal(after.begin(), after.begin() + 128, before.begin()));
}

TEST(Header, ShortHeaderOfVersion3KeepsItsLengthUntilAFieldNeedsMore) {
  HeaderBytes bytes;
  bytes.raw.header_length = kHeaderBytesV3Min;
  Header header = Header::decode(bytes.bytes());
  EXPECT_EQ(load_big_endian<std::uint32_t>(header.encode().data() + 100), kHeaderBytesV3Min);
  header.compression_type = CompressionType::zstd;
  header.incompatible_features |= incompatible::kCompressionType;
  const auto encoded = header.encode();
  EXPECT_EQ(load_big_endian<std::uint32_t>(encoded.data() + 100), sizeof(RawHeader));
  EXPECT_EQ(Header::decode(encoded).compression_type, CompressionType::zstd);
}

TEST(Header, ImageWithoutFeatureNamesGetsNone) {
  const auto encoded = Header::decode(HeaderBytes().bytes()).encode();
  EXPECT_EQ(encoded.size(), sizeof(RawHeader) + 8);
}

TEST(Header, UpgradedImageGetsFeatureNamesAndAHeaderOfFullLength) {
  Header header = Header::decode(HeaderBytes(2).bytes());
  EXPECT_EQ(header.encode().size(), kHeaderBytesV2 + 8);
  header.version = 3;
  const auto encoded = header.encode();
  EXPECT_EQ(encoded.size(), sizeof(RawHeader) + 8 + 8 * 48 + 8);
  EXPECT_EQ(Header::decode(encoded).version, 3u);
}

TEST(Header, WhatDoesNotFitIntoAClusterIsNotEncoded) {
  Header header = Header::decode(HeaderBytes(3, 9).bytes());
  header.backing_file = std::string(512 - sizeof(RawHeader) - 8, 'b');
  EXPECT_EQ(header.encode().size(), 512u);
  header.backing_file += 'b';
  try {
    header.encode();
    FAIL() << "encoded";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Errc::invalid_argument);
    EXPECT_EQ(e.message(),
              "header: extensions and backing file name need 513 bytes, expected at most the "
              "cluster size 512");
  }
}

}  // namespace
}  // namespace qcowkit::qcow2
