// The image header: every field at its limits and one past, every damaged extension, truncation,
// random damage, and bytes equal to the reference's.
#include "formats/qcow2/header.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include "formats/qcow2/limits.h"
#include "qcowkit/error.h"
#include "tests/formats/qcow2/header_fixture.h"

namespace qcowkit::qcow2 {
namespace {

using test::HeaderBytes;

/// What is wrong with the header, and how the refusal reads.
struct Refusal {
  Errc code;
  std::string message;
};

std::optional<Refusal> refusal_of(std::span<const std::byte> bytes, bool for_check = false) {
  try {
    Header::decode(bytes, for_check);
    return std::nullopt;
  } catch (const Error& e) {
    EXPECT_EQ(e.code().category(), error_category());
    return Refusal{static_cast<Errc>(e.code().value()), e.message()};
  }
}

void expect_accepted(const HeaderBytes& header) {
  const auto refusal = refusal_of(header.bytes());
  EXPECT_FALSE(refusal) << refusal->message;
}

void expect_refused(const HeaderBytes& header, Errc code, const std::string& part_of_message) {
  const auto refusal = refusal_of(header.bytes());
  ASSERT_TRUE(refusal) << "accepted, expected a message with: " << part_of_message;
  EXPECT_EQ(refusal->code, code) << refusal->message;
  EXPECT_NE(refusal->message.find(part_of_message), std::string::npos) << refusal->message;
  EXPECT_EQ(refusal->message.find("header"), 0u) << refusal->message;
}

void expect_corrupt(const HeaderBytes& header, const std::string& part_of_message) {
  expect_refused(header, Errc::corrupt, part_of_message);
}

HeaderBytes with(const std::function<void(RawHeader&)>& change, std::uint32_t version = 3,
                 std::uint32_t cluster_bits = 16) {
  HeaderBytes header(version, cluster_bits);
  change(header.raw);
  return header;
}

std::string be(std::initializer_list<std::uint64_t> words) {
  std::string bytes(words.size() * 8, '\0');
  char* at = bytes.data();
  for (const std::uint64_t word : words) {
    store_big_endian(at, word);
    at += 8;
  }
  return bytes;
}

std::string bitmaps_extension(std::uint32_t nb_bitmaps, std::uint32_t reserved, std::uint64_t size,
                              std::uint64_t offset) {
  return be({std::uint64_t{nb_bitmaps} << 32 | reserved, size, offset});
}

std::string feature_name(std::uint8_t type, std::uint8_t bit, const std::string& name) {
  std::string entry(48, '\0');
  entry[0] = static_cast<char>(type);
  entry[1] = static_cast<char>(bit);
  name.copy(entry.data() + 2, 46);
  return entry;
}

// --- The fixed fields.

TEST(Header, SoundHeaderOfVersion3IsDecoded) {
  const Header header = Header::decode(HeaderBytes(3).bytes());
  EXPECT_EQ(header.version, 3u);
  EXPECT_EQ(header.cluster_bits, 16u);
  EXPECT_EQ(header.size, 1u << 20);
  EXPECT_EQ(header.l1_size, 32u);
  EXPECT_EQ(header.l1_table_offset.value, 3u << 16);
  EXPECT_EQ(header.refcount_table_offset.value, 1u << 16);
  EXPECT_EQ(header.refcount_table_clusters, 1u);
  EXPECT_EQ(header.refcount_order, 4u);
  EXPECT_EQ(header.backing_file, "");
  EXPECT_EQ(header.backing_file_offset(), 0u);
  EXPECT_FALSE(header.backing_format || header.data_file || header.bitmaps || header.encryption);
}

TEST(Header, Version2HasNoFieldsOfVersion3) {
  HeaderBytes bytes(2);
  bytes.put(kHeaderBytesV2, std::string(8, '\0') + std::string(32, '\xff'));
  const Header header = Header::decode(bytes.bytes());
  EXPECT_EQ(header.incompatible_features, 0u);
  EXPECT_EQ(header.compatible_features, 0u);
  EXPECT_EQ(header.autoclear_features, 0u);
  EXPECT_EQ(header.refcount_order, 4u);
}

TEST(Header, WrongMagicIsNotAnImage) {
  HeaderBytes header;
  header.raw.magic[3] = std::byte{0xfa};
  expect_refused(header, Errc::not_an_image, "not a QCOW2 image");
  EXPECT_FALSE(Header::probe(header.bytes()));
}

TEST(Header, OtherVersionsAreUnsupported) {
  for (const std::uint32_t version : {0u, 4u, 0xffffffffu}) {
    expect_refused(with([&](RawHeader& raw) { raw.version = version; }), Errc::unsupported,
                   fmt::format("version is {}, expected 2 or 3", version));
  }
  expect_refused(with([](RawHeader& raw) { raw.version = 1; }), Errc::unsupported,
                 "QCOW version 1");
}

TEST(Header, ProbeTakesVersionsFrom2) {
  for (const std::uint32_t version : {0u, 1u, 2u, 3u, 4u}) {
    const auto bytes = with([&](RawHeader& raw) { raw.version = version; }).bytes();
    EXPECT_EQ(Header::probe(bytes), version >= 2) << version;
    EXPECT_EQ(Header::probe(std::span(bytes).first(8)), version >= 2) << version;
    EXPECT_FALSE(Header::probe(std::span(bytes).first(7)));
  }
}

TEST(Header, BytesWantedAreTheFirstCluster) {
  for (std::uint32_t bits = kClusterBitsMin; bits <= kClusterBitsMax; ++bits) {
    const auto bytes = HeaderBytes(3, bits).bytes();
    EXPECT_EQ(Header::bytes_wanted(std::span(bytes).first(sizeof(RawHeader))), 1u << bits);
  }
}

TEST(Header, BytesWantedAreThoseGivenWhereTheHeaderEndsInThem) {
  constexpr std::size_t kGiven = 4096;
  const auto wanted = [](const HeaderBytes& header) {
    return Header::bytes_wanted(std::span<const std::byte>(header.bytes()).first(kGiven));
  };
  constexpr std::uint64_t kCluster = 1 << 16;
  EXPECT_EQ(wanted(HeaderBytes()), kGiven);
  EXPECT_EQ(wanted(HeaderBytes(2)), kGiven);
  EXPECT_EQ(wanted(HeaderBytes().extend(0x1234, std::string(3000, 'x'))), kGiven);
  EXPECT_EQ(wanted(HeaderBytes().extend(0x1234, std::string(kGiven, 'x'))), kCluster);
  EXPECT_EQ(wanted(HeaderBytes().extend(0x1234, "", 0xffffffff)), kCluster);
  EXPECT_EQ(wanted(HeaderBytes().back(kGiven - 4, "base")), kGiven);
  EXPECT_EQ(wanted(HeaderBytes().back(kGiven - 3, "base")), kCluster);
  EXPECT_EQ(wanted(HeaderBytes().back(kGiven + 1, "")), kCluster);
  EXPECT_EQ(wanted(with([](RawHeader& raw) { raw.header_length = kGiven + 8; })), kCluster);
}

TEST(Header, BytesWantedDecodeToTheSameAsTheWholeCluster) {
  HeaderBytes header;
  header.extend(extension::kBackingFormat, "qcow2").extend(0x1234, "unknown").back(1000, "base");
  const auto bytes = header.bytes();
  const std::span<const std::byte> first = std::span(bytes).first(4096);
  ASSERT_EQ(Header::bytes_wanted(first), first.size());
  EXPECT_EQ(Header::decode(first).encode(), Header::decode(bytes).encode());
}

TEST(Header, ClusterBitsAreFrom9To21) {
  for (std::uint32_t bits = kClusterBitsMin; bits <= kClusterBitsMax; ++bits) {
    HeaderBytes header(3, bits);
    header.raw.size = 0;
    expect_accepted(header);
  }
  for (const std::uint32_t bits : {0u, 8u}) {
    expect_corrupt(with([&](RawHeader& raw) { raw.cluster_bits = bits; }),
                   fmt::format("cluster_bits is {}, expected 9 to 21", bits));
  }
  for (const std::uint32_t bits : {22u, 63u, 64u, 0xffffffffu}) {
    expect_refused(with([&](RawHeader& raw) { raw.cluster_bits = bits; }), Errc::limit_exceeded,
                   fmt::format("cluster_bits is {}, expected 9 to 21", bits));
  }
}

TEST(Header, ExtendedL2EntriesNeedClustersOf16KiB) {
  const auto extended = [](RawHeader& raw) {
    raw.incompatible_features = incompatible::kExtendedL2;
  };
  expect_accepted(with(extended, 3, 14));
  expect_corrupt(with(extended, 3, 13), "cluster_bits is 13, expected at least 14");
}

TEST(Header, HeaderLengthIsAMultipleOf8From104ToTheClusterSize) {
  for (const std::uint32_t length : {104u, 112u, 120u, 512u}) {
    expect_accepted(with([&](RawHeader& raw) { raw.header_length = length; }, 3, 9));
  }
  for (const std::uint32_t length :
       {0u, 72u, 96u, 103u, 105u, 108u, 116u, 513u, 520u, 0xfffffff8u, 0xffffffffu}) {
    expect_corrupt(with([&](RawHeader& raw) { raw.header_length = length; }, 3, 9),
                   fmt::format("header_length is {}, expected", length));
  }
}

TEST(Header, RefcountOrderIsAtMost6) {
  for (std::uint32_t order = 0; order <= 6; ++order) {
    expect_accepted(with([&](RawHeader& raw) { raw.refcount_order = order; }));
  }
  for (const std::uint32_t order : {7u, 32u, 0xffffffffu}) {
    expect_corrupt(with([&](RawHeader& raw) { raw.refcount_order = order; }),
                   fmt::format("refcount_order is {}, expected at most 6", order));
  }
}

TEST(Header, SizeIsWhatTheL1TableCovers) {
  for (const std::uint64_t size : {0ull, 1ull, 511ull, 513ull, 1ull << 34}) {
    expect_accepted(with([&](RawHeader& raw) { raw.size = size; }));
  }
  expect_corrupt(with([](RawHeader& raw) { raw.size = (1ull << 34) + 1; }),
                 "l1_size is 32, expected at least 33 for the size 17179869185");
  expect_corrupt(with([](RawHeader& raw) { raw.size = kVirtualSizeMax; }), "l1_size is 32");
  for (const std::uint64_t size :
       {kVirtualSizeMax + 1, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    expect_refused(with([&](RawHeader& raw) { raw.size = size; }), Errc::limit_exceeded,
                   fmt::format("size is {}", size));
  }
}

TEST(Header, L1TableHasAtMost32MiB) {
  expect_accepted(with([](RawHeader& raw) {
    raw.l1_size = 1 << 22;
    raw.size = std::uint64_t{1} << (22 + 29);
  }));
  for (const std::uint32_t entries : {(1u << 22) + 1, 1u << 31, 0xffffffffu}) {
    expect_refused(with([&](RawHeader& raw) { raw.l1_size = entries; }), Errc::limit_exceeded,
                   fmt::format("l1_size is {}, expected at most 4194304", entries));
  }
}

TEST(Header, L1TableOffsetIsAlignedAndBehindTheHeader) {
  for (const std::uint64_t offset : {1ull, 512ull, 65535ull, ~0ull}) {
    expect_corrupt(with([&](RawHeader& raw) { raw.l1_table_offset = offset; }),
                   fmt::format("l1_table_offset is {}, expected a multiple", offset));
  }
  expect_corrupt(with([](RawHeader& raw) { raw.l1_table_offset = 0; }),
                 "l1_table_offset is 0, expected a place behind the header");
  for (const std::uint64_t offset : {1ull << 63, 0ull - 65536}) {
    expect_corrupt(with([&](RawHeader& raw) { raw.l1_table_offset = offset; }),
                   "expected at most 2^63");
  }
  expect_accepted(with([](RawHeader& raw) { raw.l1_table_offset = (1ull << 63) - 65536; }));
  expect_corrupt(with([](RawHeader& raw) {
                   raw.l1_table_offset = (1ull << 63) - 65536;
                   raw.l1_size = 8193;
                 }),
                 "expected at most 2^63");
}

TEST(Header, EmptyL1TableMayLieNowhere) {
  const auto empty = [](RawHeader& raw) {
    raw.size = 0;
    raw.l1_size = 0;
    raw.l1_table_offset = 0;
  };
  expect_accepted(with(empty));
  HeaderBytes unaligned = with(empty);
  unaligned.raw.l1_table_offset = 1;
  expect_corrupt(unaligned, "l1_table_offset is 1");
}

TEST(Header, RefcountTableHasOneClusterTo8MiB) {
  expect_accepted(with([](RawHeader& raw) {
    raw.refcount_table_clusters = 128;
    raw.l1_table_offset = 129 << 16;
  }));
  expect_corrupt(with([](RawHeader& raw) { raw.refcount_table_clusters = 0; }),
                 "refcount_table_clusters is 0, expected at least 1");
  for (const std::uint32_t clusters : {129u, 0xffffffffu}) {
    expect_refused(with([&](RawHeader& raw) { raw.refcount_table_clusters = clusters; }),
                   Errc::limit_exceeded,
                   fmt::format("refcount_table_clusters is {}, expected at most 128", clusters));
  }
}

TEST(Header, RefcountTableOffsetIsAlignedAndBehindTheHeader) {
  for (const std::uint64_t offset : {0ull, 1ull, 512ull, 1ull << 63, 0ull - 65536}) {
    expect_corrupt(with([&](RawHeader& raw) { raw.refcount_table_offset = offset; }),
                   fmt::format("refcount_table_offset is {}, expected", offset));
  }
}

TEST(Header, L1TableLiesOutsideOfTheRefcountTable) {
  expect_corrupt(with([](RawHeader& raw) { raw.l1_table_offset = 1 << 16; }),
                 "expected a place outside of the refcount table");
  expect_corrupt(with([](RawHeader& raw) { raw.refcount_table_clusters = 3; }),
                 "expected a place outside of the refcount table");
  expect_corrupt(with([](RawHeader& raw) {
                   raw.refcount_table_offset = 4 << 16;
                   raw.l1_size = 8193;
                 }),
                 "expected a place outside of the refcount table");
  expect_accepted(with([](RawHeader& raw) {
    raw.refcount_table_offset = 4 << 16;
    raw.l1_size = 8192;
  }));
}

TEST(Header, CheckToleratesWhatItCanRepair) {
  const auto no_table = with([](RawHeader& raw) { raw.refcount_table_clusters = 0; }).bytes();
  EXPECT_EQ(Header::decode(no_table, true).refcount_table_clusters, 0u);
  const auto table_at_0 = with([](RawHeader& raw) { raw.refcount_table_offset = 0; }).bytes();
  EXPECT_EQ(Header::decode(table_at_0, true).refcount_table_clusters, 0u);
  const auto overlap = with([](RawHeader& raw) { raw.l1_table_offset = 1 << 16; }).bytes();
  EXPECT_EQ(Header::decode(overlap, true).l1_table_offset.value, 1u << 16);
  const auto unaligned = with([](RawHeader& raw) { raw.refcount_table_offset = 1; }).bytes();
  EXPECT_TRUE(refusal_of(unaligned, true));
}

TEST(Header, SnapshotsAreAtMost65536AtAnAlignedPlace) {
  const auto snapshots = [](std::uint32_t count, std::uint64_t offset) {
    return with([&](RawHeader& raw) {
      raw.nb_snapshots = count;
      raw.snapshots_offset = offset;
    });
  };
  expect_accepted(snapshots(65536, 1 << 18));
  expect_accepted(snapshots(0, 1 << 18));
  for (const std::uint32_t count : {65537u, 0xffffffffu}) {
    expect_refused(snapshots(count, 1 << 18), Errc::limit_exceeded,
                   fmt::format("nb_snapshots is {}, expected at most 65536", count));
  }
  expect_corrupt(snapshots(1, 0), "snapshots_offset is 0, expected a place behind the header");
  expect_corrupt(snapshots(1, 1), "snapshots_offset is 1, expected a multiple");
  expect_corrupt(snapshots(0, 1), "snapshots_offset is 1, expected a multiple");
  expect_corrupt(snapshots(1, 1ull << 63), "expected at most 2^63");
}

// --- Features.

TEST(Header, KnownFeaturesAreDecoded) {
  HeaderBytes bytes;
  bytes.raw.incompatible_features = incompatible::kKnown;
  bytes.raw.compatible_features = compatible::kLazyRefcounts | 1ull << 63;
  bytes.raw.autoclear_features = autoclear::kDataFileRaw | 1ull << 63;
  bytes.raw.compression_type = 1;
  const Header header = Header::decode(bytes.bytes());
  EXPECT_TRUE(header.has(incompatible::kDirty) && header.has(incompatible::kCorrupt));
  EXPECT_TRUE(header.has(incompatible::kDataFile) && header.data_file_raw());
  EXPECT_TRUE(header.geometry().extended_l2() && header.lazy_refcounts());
  EXPECT_EQ(header.compression_type, CompressionType::zstd);
  EXPECT_EQ(header.compatible_features, compatible::kLazyRefcounts | 1ull << 63);
  EXPECT_EQ(header.autoclear_features, autoclear::kDataFileRaw | 1ull << 63);
}

TEST(Header, UnknownIncompatibleFeaturesAreNamedByTheirBits) {
  HeaderBytes header;
  header.raw.incompatible_features = 1ull << 63 | 1u << 5 | incompatible::kDirty;
  expect_refused(header, Errc::unsupported, "unknown features bit 5, bit 63");
}

TEST(Header, UnknownIncompatibleFeaturesAreNamedByTheFeatureNameTable) {
  HeaderBytes header;
  header.raw.incompatible_features = 7u << 5;
  header.extend(extension::kFeatureNames, feature_name(1, 5, "of another set") +
                                              feature_name(0, 5, "time travel") +
                                              feature_name(0, 6, std::string(46, 'x')) +
                                              feature_name(0, 7, "bell\a") + "cut short");
  expect_refused(header, Errc::unsupported,
                 "unknown features \"time travel\" (bit 5), \"" + std::string(46, 'x') +
                     "\" (bit 6), \"bell?\" (bit 7)");
}

TEST(Header, UnknownIncompatibleFeatureGoesBeforeDamage) {
  HeaderBytes header;
  header.raw.incompatible_features = 1u << 5;
  header.raw.l1_size = 0;
  header.extend(5, "", 0xffffffff);
  expect_refused(header, Errc::unsupported, "bit 5");
}

TEST(Header, CompressionTypeAndItsBitGoTogether) {
  const auto compression = [](std::uint64_t bits, std::uint8_t type) {
    return with([&](RawHeader& raw) {
      raw.incompatible_features = bits;
      raw.compression_type = type;
    });
  };
  expect_accepted(compression(0, 0));
  expect_accepted(compression(incompatible::kCompressionType, 1));
  expect_corrupt(compression(0, 1), "compression_type is 1, expected 0 without");
  expect_corrupt(compression(incompatible::kCompressionType, 0),
                 "compression_type is 0, expected another than 0");
  expect_refused(compression(incompatible::kCompressionType, 2), Errc::unsupported,
                 "compression_type is 2, expected 0 (deflate) or 1 (zstd)");
}

TEST(Header, CompressionTypeBehindAShortHeaderIsNotThere) {
  HeaderBytes header;
  header.raw.header_length = kHeaderBytesV3Min;
  header.raw.incompatible_features = incompatible::kCompressionType;
  header.raw.compression_type = 1;  // already the extension area, too long an extension
  expect_corrupt(header, "header");
  header.raw.compression_type = 0;
  expect_corrupt(header, "compression_type is 0, expected another than 0");
}

TEST(Header, RawExternalDataNeedsAnExternalDataFile) {
  HeaderBytes header;
  header.raw.autoclear_features = autoclear::kDataFileRaw;
  expect_corrupt(header, "external data file");
  header.raw.incompatible_features = incompatible::kDataFile;
  expect_accepted(header);
}

TEST(Header, CryptMethodIsAtMost2) {
  expect_accepted(with([](RawHeader& raw) { raw.crypt_method = 1; }));
  for (const std::uint32_t method : {3u, 0xffffffffu}) {
    expect_refused(with([&](RawHeader& raw) { raw.crypt_method = method; }), Errc::unsupported,
                   fmt::format("crypt_method is {}", method));
  }
}

// --- Extensions.

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
  expect_corrupt(with([](RawHeader& raw) { raw.crypt_method = 2; }), "crypt_method is 2");
  for (const std::uint32_t method : {0u, 1u}) {
    HeaderBytes header = with([&](RawHeader& raw) { raw.crypt_method = method; });
    header.extend(extension::kEncryptionHeader, be({4 << 16, 4096}));
    expect_corrupt(header, fmt::format("crypt_method is {}, expected 2", method));
  }
}

// --- The backing file name.

TEST(Header, BackingFileNameHasUpTo1023Bytes) {
  const std::string longest(1023, 'b');
  const Header header = Header::decode(HeaderBytes().back(1024, longest).bytes());
  EXPECT_EQ(header.backing_file, longest);
  EXPECT_EQ(header.backing_file_offset(), 1024u);
  expect_accepted(HeaderBytes().back(1024, "b"));
  expect_corrupt(HeaderBytes().back(1024, longest + "b"),
                 "backing_file_size is 1024, expected 1 to 1023");
  expect_corrupt(HeaderBytes().back(1024, ""), "backing_file_size is 0, expected 1 to 1023");
}

TEST(Header, BackingFileSizeWithoutOffsetIsUndefined) {
  for (const std::uint32_t size : {8u, 1024u, 0xffffffffu}) {
    const auto bytes = with([&](RawHeader& raw) { raw.backing_file_size = size; }).bytes();
    EXPECT_EQ(Header::decode(bytes).backing_file, "");
  }
}

TEST(Header, BackingFileNameLiesBehindTheHeaderInTheFirstCluster) {
  expect_accepted(HeaderBytes().back(sizeof(RawHeader), "base"));
  expect_accepted(HeaderBytes().back(65536 - 4, "base"));
  for (const std::uint64_t offset : {1ull, 71ull, 104ull, 111ull}) {
    HeaderBytes header;
    header.raw.backing_file_offset = offset;
    header.raw.backing_file_size = 4;
    expect_corrupt(header, fmt::format("backing_file_offset is {}, expected a place", offset));
  }
  for (const std::uint64_t offset : {65533ull, 65536ull, 1ull << 63, ~0ull - 3, ~0ull}) {
    expect_corrupt(HeaderBytes().back(offset, "base"),
                   fmt::format("backing_file_offset is {}, expected all 4 bytes", offset));
  }
  expect_accepted(HeaderBytes(2).back(kHeaderBytesV2, "base"));
}

// --- Truncation and random damage.

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

HeaderBytes rich_header(std::mt19937_64& random) {
  HeaderBytes header(random() % 4 == 0 ? 2 : 3, random() % 2 == 0 ? 16 : 9);
  if (random() % 2 == 0) header.raw.autoclear_features = autoclear::kBitmaps;
  header.extend(extension::kBackingFormat, "qcow2");
  if (random() % 2 == 0) header.extend(extension::kDataFileName, "disk.raw");
  if (random() % 2 == 0) {
    header.extend(extension::kBitmaps, bitmaps_extension(1, 0, 32, 5 << 16));
  }
  if (random() % 2 == 0) {
    header.raw.crypt_method = 2;
    header.extend(extension::kEncryptionHeader, be({4 << 16, 4096}));
  }
  header.extend(extension::kFeatureNames, feature_name(0, 5, "five")).extend(0x12345678, "unknown");
  header.extend(extension::kEnd, "");
  return header.back(header.extensions_end(), "base.qcow2");
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

// --- Writing.

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
