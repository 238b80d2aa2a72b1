// The image header: every field at its limits and one past.
#include "formats/qcow2/header.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "formats/qcow2/limits.h"
#include "qcowkit/error.h"
#include "tests/formats/qcow2/header_expectations.h"
#include "tests/formats/qcow2/header_fixture.h"

namespace qcowkit::qcow2 {
namespace {

using namespace test;

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
    expect_refused(header_with([&](RawHeader& raw) { raw.version = version; }), Errc::unsupported,
                   fmt::format("version is {}, expected 2 or 3", version));
  }
  expect_refused(header_with([](RawHeader& raw) { raw.version = 1; }), Errc::unsupported,
                 "QCOW version 1");
}

TEST(Header, ProbeTakesVersionsFrom2) {
  for (const std::uint32_t version : {0u, 1u, 2u, 3u, 4u}) {
    const auto bytes = header_with([&](RawHeader& raw) { raw.version = version; }).bytes();
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
  EXPECT_EQ(wanted(header_with([](RawHeader& raw) { raw.header_length = kGiven + 8; })), kCluster);
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
    expect_corrupt(header_with([&](RawHeader& raw) { raw.cluster_bits = bits; }),
                   fmt::format("cluster_bits is {}, expected 9 to 21", bits));
  }
  for (const std::uint32_t bits : {22u, 63u, 64u, 0xffffffffu}) {
    expect_refused(header_with([&](RawHeader& raw) { raw.cluster_bits = bits; }),
                   Errc::limit_exceeded, fmt::format("cluster_bits is {}, expected 9 to 21", bits));
  }
}

TEST(Header, ExtendedL2EntriesNeedClustersOf16KiB) {
  const auto extended = [](RawHeader& raw) {
    raw.incompatible_features = incompatible::kExtendedL2;
  };
  expect_accepted(header_with(extended, 3, 14));
  expect_corrupt(header_with(extended, 3, 13), "cluster_bits is 13, expected at least 14");
}

TEST(Header, HeaderLengthIsAMultipleOf8From104ToTheClusterSize) {
  for (const std::uint32_t length : {104u, 112u, 120u, 512u}) {
    expect_accepted(header_with([&](RawHeader& raw) { raw.header_length = length; }, 3, 9));
  }
  for (const std::uint32_t length :
       {0u, 72u, 96u, 103u, 105u, 108u, 116u, 513u, 520u, 0xfffffff8u, 0xffffffffu}) {
    expect_corrupt(header_with([&](RawHeader& raw) { raw.header_length = length; }, 3, 9),
                   fmt::format("header_length is {}, expected", length));
  }
}

TEST(Header, RefcountOrderIsAtMost6) {
  for (std::uint32_t order = 0; order <= 6; ++order) {
    expect_accepted(header_with([&](RawHeader& raw) { raw.refcount_order = order; }));
  }
  for (const std::uint32_t order : {7u, 32u, 0xffffffffu}) {
    expect_corrupt(header_with([&](RawHeader& raw) { raw.refcount_order = order; }),
                   fmt::format("refcount_order is {}, expected at most 6", order));
  }
}

TEST(Header, SizeIsWhatTheL1TableCovers) {
  for (const std::uint64_t size : {0ull, 1ull, 511ull, 513ull, 1ull << 34}) {
    expect_accepted(header_with([&](RawHeader& raw) { raw.size = size; }));
  }
  expect_corrupt(header_with([](RawHeader& raw) { raw.size = (1ull << 34) + 1; }),
                 "l1_size is 32, expected at least 33 for the size 17179869185");
  expect_corrupt(header_with([](RawHeader& raw) { raw.size = kVirtualSizeMax; }), "l1_size is 32");
  for (const std::uint64_t size :
       {kVirtualSizeMax + 1, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    expect_refused(header_with([&](RawHeader& raw) { raw.size = size; }), Errc::limit_exceeded,
                   fmt::format("size is {}", size));
  }
}

TEST(Header, L1TableHasAtMost32MiB) {
  expect_accepted(header_with([](RawHeader& raw) {
    raw.l1_size = 1 << 22;
    raw.size = std::uint64_t{1} << (22 + 29);
  }));
  for (const std::uint32_t entries : {(1u << 22) + 1, 1u << 31, 0xffffffffu}) {
    expect_refused(header_with([&](RawHeader& raw) { raw.l1_size = entries; }),
                   Errc::limit_exceeded,
                   fmt::format("l1_size is {}, expected at most 4194304", entries));
  }
}

TEST(Header, L1TableOffsetIsAlignedAndBehindTheHeader) {
  for (const std::uint64_t offset : {1ull, 512ull, 65535ull, ~0ull}) {
    expect_corrupt(header_with([&](RawHeader& raw) { raw.l1_table_offset = offset; }),
                   fmt::format("l1_table_offset is {}, expected a multiple", offset));
  }
  expect_corrupt(header_with([](RawHeader& raw) { raw.l1_table_offset = 0; }),
                 "l1_table_offset is 0, expected a place behind the header");
  for (const std::uint64_t offset : {1ull << 63, 0ull - 65536}) {
    expect_corrupt(header_with([&](RawHeader& raw) { raw.l1_table_offset = offset; }),
                   "expected at most 2^63");
  }
  expect_accepted(header_with([](RawHeader& raw) { raw.l1_table_offset = (1ull << 63) - 65536; }));
  expect_corrupt(header_with([](RawHeader& raw) {
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
  expect_accepted(header_with(empty));
  HeaderBytes unaligned = header_with(empty);
  unaligned.raw.l1_table_offset = 1;
  expect_corrupt(unaligned, "l1_table_offset is 1");
}

TEST(Header, RefcountTableHasOneClusterTo8MiB) {
  expect_accepted(header_with([](RawHeader& raw) {
    raw.refcount_table_clusters = 128;
    raw.l1_table_offset = 129 << 16;
  }));
  expect_corrupt(header_with([](RawHeader& raw) { raw.refcount_table_clusters = 0; }),
                 "refcount_table_clusters is 0, expected at least 1");
  for (const std::uint32_t clusters : {129u, 0xffffffffu}) {
    expect_refused(header_with([&](RawHeader& raw) { raw.refcount_table_clusters = clusters; }),
                   Errc::limit_exceeded,
                   fmt::format("refcount_table_clusters is {}, expected at most 128", clusters));
  }
}

TEST(Header, RefcountTableOffsetIsAlignedAndBehindTheHeader) {
  for (const std::uint64_t offset : {0ull, 1ull, 512ull, 1ull << 63, 0ull - 65536}) {
    expect_corrupt(header_with([&](RawHeader& raw) { raw.refcount_table_offset = offset; }),
                   fmt::format("refcount_table_offset is {}, expected", offset));
  }
}

TEST(Header, L1TableLiesOutsideOfTheRefcountTable) {
  expect_corrupt(header_with([](RawHeader& raw) { raw.l1_table_offset = 1 << 16; }),
                 "expected a place outside of the refcount table");
  expect_corrupt(header_with([](RawHeader& raw) { raw.refcount_table_clusters = 3; }),
                 "expected a place outside of the refcount table");
  expect_corrupt(header_with([](RawHeader& raw) {
                   raw.refcount_table_offset = 4 << 16;
                   raw.l1_size = 8193;
                 }),
                 "expected a place outside of the refcount table");
  expect_accepted(header_with([](RawHeader& raw) {
    raw.refcount_table_offset = 4 << 16;
    raw.l1_size = 8192;
  }));
}

TEST(Header, CheckToleratesWhatItCanRepair) {
  const auto no_table =
      header_with([](RawHeader& raw) { raw.refcount_table_clusters = 0; }).bytes();
  EXPECT_EQ(Header::decode(no_table, true).refcount_table_clusters, 0u);
  const auto table_at_0 =
      header_with([](RawHeader& raw) { raw.refcount_table_offset = 0; }).bytes();
  EXPECT_EQ(Header::decode(table_at_0, true).refcount_table_clusters, 0u);
  const auto overlap = header_with([](RawHeader& raw) { raw.l1_table_offset = 1 << 16; }).bytes();
  EXPECT_EQ(Header::decode(overlap, true).l1_table_offset.value, 1u << 16);
  const auto unaligned = header_with([](RawHeader& raw) { raw.refcount_table_offset = 1; }).bytes();
  EXPECT_TRUE(refusal_of(unaligned, true));
}

TEST(Header, SnapshotsAreAtMost65536AtAnAlignedPlace) {
  const auto snapshots = [](std::uint32_t count, std::uint64_t offset) {
    return header_with([&](RawHeader& raw) {
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
    return header_with([&](RawHeader& raw) {
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
  expect_accepted(header_with([](RawHeader& raw) { raw.crypt_method = 1; }));
  for (const std::uint32_t method : {3u, 0xffffffffu}) {
    expect_refused(header_with([&](RawHeader& raw) { raw.crypt_method = method; }),
                   Errc::unsupported, fmt::format("crypt_method is {}", method));
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
    const auto bytes = header_with([&](RawHeader& raw) { raw.backing_file_size = size; }).bytes();
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

}  // namespace
}  // namespace qcowkit::qcow2
