// The header: every field at its limits and one past, truncation, random damage.
#include "formats/qcow1/header.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>

#include "formats/qcow1/limits.h"
#include "tests/support/errors.h"

namespace qcowkit::qcow1 {
namespace {

using test::error_of;
using test::mentions;

/// A sound header of a disk of 10 MiB, to be bent.
RawHeader sound_header() {
  RawHeader raw{};
  raw.magic = {std::byte{'Q'}, std::byte{'F'}, std::byte{'I'}, std::byte{0xfb}};
  raw.version = 1;
  raw.size = 10 << 20;
  raw.cluster_bits = 12;
  raw.l2_bits = 9;
  raw.l1_table_offset = 48;
  return raw;
}

std::vector<std::byte> bytes_of(const RawHeader& raw) {
  std::vector<std::byte> bytes(sizeof raw);
  std::memcpy(bytes.data(), &raw, sizeof raw);
  return bytes;
}

using Change = std::function<void(RawHeader&)>;

Header decoded(const Change& change) {
  RawHeader raw = sound_header();
  change(raw);
  return Header::decode(bytes_of(raw));
}

void expect_refused(Errc code, const std::vector<std::string>& words, const Change& change) {
  const Error error = error_of([&] { decoded(change); });
  EXPECT_EQ(error.code(), code) << error.message();
  EXPECT_TRUE(mentions(error, words));
}

TEST(Qcow1Header, SoundHeaderIsUnderstood) {
  const Header header = decoded([](RawHeader& raw) {
    raw.backing_file_offset = 200;
    raw.backing_file_size = 7;
    raw.mtime = 12345;
    raw.padding = 0xffff;
    raw.crypt_method = 1;
  });
  EXPECT_EQ(header.size, 10u << 20);
  EXPECT_EQ(header.cluster_bits, 12u);
  EXPECT_EQ(header.l2_bits, 9u);
  EXPECT_EQ(header.crypt_method, CryptMethod::aes);
  EXPECT_EQ(header.l1_table_offset.value, 48u);
  EXPECT_EQ(header.l1_entries(), 5u);
  EXPECT_EQ(header.l1_table_end().value, 48u + 40);
  EXPECT_EQ(header.backing_file_offset.value, 200u);
  EXPECT_EQ(header.backing_file_size, 7u);
}

TEST(Qcow1Header, OtherMagicIsNoImage) {
  expect_refused(Errc::not_an_image, {"not in qcow format"},
                 [](RawHeader& raw) { raw.magic[3] = std::byte{0xfc}; });
  EXPECT_EQ(error_of([] { Header::decode({}); }).code(), Errc::not_an_image);
}

TEST(Qcow1Header, OtherVersionIsUnsupported) {
  expect_refused(Errc::unsupported, {"qcow version 0"}, [](RawHeader& raw) { raw.version = 0; });
  expect_refused(Errc::unsupported, {"qcow version 2", "'qcow2' driver"},
                 [](RawHeader& raw) { raw.version = 2; });
}

TEST(Qcow1Header, FileThatEndsInTheHeaderIsCorrupt) {
  const auto bytes = bytes_of(sound_header());
  for (std::size_t size = 4; size < bytes.size(); ++size) {
    const Error error = error_of([&] { Header::decode(std::span(bytes).first(size)); });
    EXPECT_EQ(error.code(), Errc::corrupt) << size;
  }
}

TEST(Qcow1Header, ClusterBitsAreNineToSixteen) {
  for (const std::uint8_t bits : {9, 16}) {
    EXPECT_EQ(decoded([&](RawHeader& raw) { raw.cluster_bits = bits; }).cluster_bits, bits);
  }
  for (const std::uint8_t bits : {0, 8, 17, 64, 255}) {
    expect_refused(Errc::corrupt, {"cluster_bits", fmt::format("is {}", bits), "9 to 16"},
                   [&](RawHeader& raw) { raw.cluster_bits = bits; });
  }
}

TEST(Qcow1Header, L2BitsAreSixToThirteen) {
  for (const std::uint8_t bits : {6, 13}) {
    EXPECT_EQ(decoded([&](RawHeader& raw) { raw.l2_bits = bits; }).l2_bits, bits);
  }
  for (const std::uint8_t bits : {0, 5, 14, 255}) {
    expect_refused(Errc::corrupt, {"l2_bits", fmt::format("is {}", bits), "6 to 13"},
                   [&](RawHeader& raw) { raw.l2_bits = bits; });
  }
}

TEST(Qcow1Header, SizeIsAtLeastTwoBytes) {
  for (const std::uint64_t size : {0, 1}) {
    expect_refused(Errc::corrupt, {"size", "at least 2"}, [&](RawHeader& raw) { raw.size = size; });
  }
  EXPECT_EQ(decoded([](RawHeader& raw) { raw.size = 2; }).l1_entries(), 1u);
}

TEST(Qcow1Header, SizeIsBoundedByTheL1Table) {
  const std::uint64_t largest = kL1TableBytesMax / 8 << 21;
  EXPECT_EQ(decoded([&](RawHeader& raw) { raw.size = largest; }).l1_table_bytes(),
            kL1TableBytesMax);
  for (const std::uint64_t size : {largest + 1, ~std::uint64_t{0}}) {
    expect_refused(Errc::limit_exceeded, {"size", std::to_string(size), std::to_string(largest)},
                   [&](RawHeader& raw) { raw.size = size; });
  }
}

TEST(Qcow1Header, CryptMethodIsNoneOrAes) {
  for (const std::uint32_t method : {2u, 3u, ~0u}) {
    expect_refused(Errc::unsupported, {"crypt_method", std::to_string(method)},
                   [&](RawHeader& raw) { raw.crypt_method = method; });
  }
}

TEST(Qcow1Header, L1TableLiesBehindTheHeaderAtAMultipleOfEight) {
  for (const std::uint64_t offset :
       {std::uint64_t{0}, std::uint64_t{40}, std::uint64_t{49}, std::uint64_t{52}, kFileEnd - 40,
        kFileEnd, ~std::uint64_t{7}}) {
    expect_refused(Errc::corrupt, {"l1_table_offset", fmt::format("{:#x}", offset)},
                   [&](RawHeader& raw) { raw.l1_table_offset = offset; });
  }
  EXPECT_EQ(decoded([](RawHeader& raw) { raw.l1_table_offset = 56; }).l1_table_offset.value, 56u);
}

TEST(Qcow1Header, BackingFileNameHasAtMost1023Bytes) {
  const auto with_name = [](std::uint32_t bytes) {
    return [bytes](RawHeader& raw) {
      raw.backing_file_offset = 88;
      raw.backing_file_size = bytes;
    };
  };
  EXPECT_EQ(decoded(with_name(1023)).backing_file_size, 1023u);
  for (const std::uint32_t bytes : {1024u, ~0u}) {
    expect_refused(Errc::limit_exceeded, {"backing_file_size", "1023"}, with_name(bytes));
  }
}

TEST(Qcow1Header, BackingFileNameLiesApartFromHeaderAndL1Table) {
  for (const std::uint64_t offset : {std::uint64_t{1}, std::uint64_t{47}, std::uint64_t{48},
                                     std::uint64_t{87}, kFileEnd - 5, ~std::uint64_t{0}}) {
    expect_refused(Errc::corrupt, {"backing_file_offset", fmt::format("{:#x}", offset)},
                   [&](RawHeader& raw) {
                     raw.backing_file_offset = offset;
                     raw.backing_file_size = 10;
                   });
  }
}

TEST(Qcow1Header, NameWithoutPlaceOrLengthIsNone) {
  EXPECT_EQ(decoded([](RawHeader& raw) { raw.backing_file_size = 5000; }).backing_file_size, 0u);
  EXPECT_EQ(decoded([](RawHeader& raw) { raw.backing_file_offset = 1; }).backing_file_size, 0u);
}

TEST(Qcow1Header, WhatIsLaidOutIsUnderstood) {
  for (const std::size_t name_bytes : {0, 1, 8, 1023}) {
    Header header;
    header.size = 10 << 20;
    header.backing_file = std::string(name_bytes, 'b');
    header.lay_out();
    const std::vector<std::byte> bytes = header.encode();
    const Header again = Header::decode(bytes);
    EXPECT_EQ(again.size, header.size);
    EXPECT_EQ(again.l1_table_offset.value, bytes.size());
    EXPECT_EQ(again.l1_table_offset.value, (48 + name_bytes + 7) / 8 * 8);
    ASSERT_EQ(again.backing_file_size, name_bytes);
    EXPECT_EQ(std::memcmp(bytes.data() + 48, header.backing_file.data(), name_bytes), 0);
  }
  Header header;
  header.backing_file = std::string(1024, 'b');
  EXPECT_EQ(error_of([&] { header.lay_out(); }).code(), Errc::invalid_argument);
}

TEST(Qcow1Header, ProbeTellsVersionOneOnly) {
  RawHeader raw = sound_header();
  EXPECT_TRUE(Header::probe(bytes_of(raw)));
  const std::vector<std::byte> bytes = bytes_of(raw);
  EXPECT_TRUE(Header::probe(std::span(bytes).first(8)));
  EXPECT_FALSE(Header::probe(std::span(bytes).first(7)));
  raw.version = 2;
  EXPECT_FALSE(Header::probe(bytes_of(raw)));
  raw.version = 1;
  raw.magic[0] = std::byte{'q'};
  EXPECT_FALSE(Header::probe(bytes_of(raw)));
}

TEST(Qcow1Header, RandomDamageIsRefusedOrWithinLimits) {
  constexpr int kRounds = 20000;
  std::mt19937_64 random(1);
  for (int i = 0; i < kRounds; ++i) {
    std::vector<std::byte> bytes = bytes_of(sound_header());
    for (int damages = 0; damages < 3; ++damages) {
      bytes[8 + random() % 40] = static_cast<std::byte>(random());
    }
    try {
      const Header header = Header::decode(bytes);
      EXPECT_LE(header.l1_table_bytes(), kL1TableBytesMax);
      EXPECT_LT(header.l1_table_end().value, kFileEnd);
      EXPECT_LE(header.backing_file_size, kBackingNameBytesMax);
    } catch (const Error& error) {
      EXPECT_EQ(error.message().find("header: "), 0u) << error.message();
    }
  }
}

}  // namespace
}  // namespace qcowkit::qcow1
