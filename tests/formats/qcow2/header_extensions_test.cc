// The header's extensions, decoded: each at its limits, and damaged.
#include "formats/qcow2/header.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "formats/qcow2/header_extensions.h"
#include "qcowkit/error.h"
#include "tests/formats/qcow2/header_expectations.h"
#include "tests/formats/qcow2/header_fixture.h"

namespace qcowkit::qcow2 {
namespace {

using namespace test;

TEST(Header, StringExtensionsAreDecoded) {
  HeaderBytes bytes;
  bytes.raw.incompatible_features = incompatible::kDataFile;
  bytes.extend(extension::kBackingFormat, "qcow2").extend(extension::kDataFileName, "disk.raw");
  const Header header = Header::decode(bytes.bytes());
  EXPECT_EQ(header.backing_format, "qcow2");
  EXPECT_EQ(header.data_file, "disk.raw");
}

TEST(Header, BackingFormatHasAtMost15Bytes) {
  expect_accepted(HeaderBytes().extend(extension::kBackingFormat, ""));
  expect_accepted(HeaderBytes().extend(extension::kBackingFormat, std::string(15, 'x')));
  expect_corrupt(HeaderBytes().extend(extension::kBackingFormat, std::string(16, 'x')),
                 "length of the backing file format is 16, expected at most 15");
}

TEST(Header, ZeroBytesInStringsAreCorrupt) {
  const std::string with_zero("ra\0w", 4);
  expect_corrupt(HeaderBytes().extend(extension::kBackingFormat, with_zero),
                 "backing file format has a zero byte at 2");
  expect_corrupt(HeaderBytes().extend(extension::kDataFileName, with_zero),
                 "external data file name has a zero byte at 2");
  expect_corrupt(HeaderBytes().back(1024, with_zero), "backing file name has a zero byte at 2");
}

TEST(Header, ExtensionMayReachTheEndOfTheCluster) {
  const std::uint32_t left = 512 - sizeof(RawHeader) - 8;
  expect_accepted(HeaderBytes(3, 9).extend(5, std::string(left, 'x')));
  expect_corrupt(HeaderBytes(3, 9).extend(5, "", left + 1),
                 "0x00000005 at 112: length is 393, expected at most 392");
  for (const std::uint32_t length : {0x7fffffffu, 0xfffffff8u, 0xffffffffu}) {
    expect_corrupt(HeaderBytes(3, 9).extend(5, "", length), "expected at most 392");
  }
}

TEST(Header, ExtensionMayReachTheBackingFileName) {
  const std::size_t end = sizeof(RawHeader) + 8 + 8;
  expect_accepted(HeaderBytes().extend(5, "12345678").back(end, "base"));
  expect_corrupt(HeaderBytes().extend(5, "12345678").back(end - 1, "base"),
                 "length is 8, expected at most 7");
  // Fewer bytes than an extension's header end the area as well.
  expect_accepted(HeaderBytes().extend(5, "12345678").back(end + 7, "base"));
}

TEST(Header, EndMarkerEndsTheArea) {
  HeaderBytes header;
  header.extend(extension::kEnd, "").extend(5, "", 0xffffffff);
  expect_accepted(header);
}

TEST(Header, KnownExtensionsAreThereOnce) {
  for (const std::uint32_t type :
       {extension::kBackingFormat, extension::kFeatureNames, extension::kBitmaps,
        extension::kEncryptionHeader, extension::kDataFileName}) {
    expect_corrupt(HeaderBytes().extend(type, "").extend(5, "x").extend(type, ""), "twice");
  }
  expect_accepted(HeaderBytes().extend(5, "x").extend(5, "y"));
}

TEST(Header, FeatureNameTableOfAnyLengthIsAccepted) {
  for (const std::size_t length : {0u, 1u, 47u, 48u, 49u, 480u}) {
    expect_accepted(HeaderBytes().extend(extension::kFeatureNames, std::string(length, '\xff')));
  }
}

HeaderBytes with_bitmaps(const std::string& data) {
  HeaderBytes header;
  header.raw.autoclear_features = autoclear::kBitmaps;
  return header.extend(extension::kBitmaps, data);
}

TEST(Header, BitmapsExtensionIsDecoded) {
  const Header header = Header::decode(with_bitmaps(bitmaps_extension(2, 0, 64, 5 << 16)).bytes());
  ASSERT_TRUE(header.bitmaps);
  EXPECT_EQ(header.bitmaps->nb_bitmaps, 2u);
  EXPECT_EQ(header.bitmaps->bitmap_directory_size, 64u);
  EXPECT_EQ(header.bitmaps->bitmap_directory_offset.value, 5u << 16);
}

TEST(Header, BitmapsExtensionIsCheckedAtItsLimits) {
  expect_accepted(with_bitmaps(bitmaps_extension(65535, 0, 64 << 20, 5 << 16)));
  expect_corrupt(with_bitmaps(bitmaps_extension(0, 0, 32, 5 << 16)), "nb_bitmaps is 0");
  expect_refused(with_bitmaps(bitmaps_extension(65536, 0, 32, 5 << 16)), Errc::limit_exceeded,
                 "nb_bitmaps is 65536, expected at most 65535");
  expect_corrupt(with_bitmaps(bitmaps_extension(1, 1, 32, 5 << 16)), "reserved");
  expect_corrupt(with_bitmaps(bitmaps_extension(1, 0, 0, 5 << 16)), "bitmap_directory_size is 0");
  expect_refused(with_bitmaps(bitmaps_extension(1, 0, (64 << 20) + 1, 5 << 16)),
                 Errc::limit_exceeded, "bitmap_directory_size is 67108865");
  for (const std::uint64_t offset : {0ull, 1ull, (5ull << 16) + 512, 1ull << 63}) {
    expect_corrupt(with_bitmaps(bitmaps_extension(1, 0, 32, offset)),
                   fmt::format("bitmap_directory_offset is {}", offset));
  }
  for (const std::size_t length : {0u, 3u, 23u, 25u, 32u}) {
    expect_corrupt(with_bitmaps(std::string(length, '\1')),
                   fmt::format("length of the bitmaps extension is {}, expected 24", length));
  }
}

TEST(Header, BitmapsWithoutTheirBitAreDroppedWhateverTheyHold) {
  for (const std::string& data : {std::string(), std::string("abc"), bitmaps_extension(0, 1, 0, 1),
                                  bitmaps_extension(1, 0, 32, 5 << 16)}) {
    const Header header = Header::decode(HeaderBytes().extend(extension::kBitmaps, data).bytes());
    EXPECT_FALSE(header.bitmaps);
    EXPECT_FALSE(Header::decode(header.encode()).bitmaps);
  }
}

TEST(Header, BitmapsBitWithoutExtensionIsNotWrittenAgain) {
  HeaderBytes bytes;
  bytes.raw.autoclear_features = autoclear::kBitmaps;
  const Header header = Header::decode(bytes.bytes());
  EXPECT_FALSE(header.bitmaps);
  EXPECT_EQ(Header::decode(header.encode()).autoclear_features, 0u);
}

HeaderBytes with_luks(const std::string& data) {
  HeaderBytes header;
  header.raw.crypt_method = 2;
  return header.extend(extension::kEncryptionHeader, data);
}

TEST(Header, EncryptionExtensionIsDecodedAndChecked) {
  const Header header = Header::decode(with_luks(be({4 << 16, 2068480})).bytes());
  ASSERT_TRUE(header.encryption);
  EXPECT_EQ(header.encryption->offset.value, 4u << 16);
  EXPECT_EQ(header.encryption->length, 2068480u);

  for (const std::uint64_t offset : {0ull, 1ull, (4ull << 16) + 512, 1ull << 63}) {
    expect_corrupt(with_luks(be({offset, 4096})),
                   fmt::format("offset of the encryption header is {}", offset));
  }
  expect_corrupt(with_luks(be({4 << 16, 0})), "length of the encryption header is 0");
  expect_corrupt(with_luks(be({4 << 16, ~0ull})), "expected at most 2^63");
  for (const std::size_t length : {0u, 15u, 17u}) {
    expect_corrupt(with_luks(std::string(length, '\0')),
                   fmt::format("length of the encryption extension is {}, expected 16", length));
  }
}

TEST(Header, EncryptionExtensionGoesWithLuksOnly) {
  expect_corrupt(header_with([](RawHeader& raw) { raw.crypt_method = 2; }), "crypt_method is 2");
  for (const std::uint32_t method : {0u, 1u}) {
    HeaderBytes header = header_with([&](RawHeader& raw) { raw.crypt_method = method; });
    header.extend(extension::kEncryptionHeader, be({4 << 16, 4096}));
    expect_corrupt(header, fmt::format("crypt_method is {}, expected 2", method));
  }
}

}  // namespace
}  // namespace qcowkit::qcow2
