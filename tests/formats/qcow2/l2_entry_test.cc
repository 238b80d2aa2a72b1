// What every kind of L2 entry means, and back.
#include "formats/qcow2/l2_entry.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string_view>
#include <vector>

#include "formats/qcow2/limits.h"

namespace qcowkit::qcow2 {
namespace {

using Kind = L2Mapping::Kind;

constexpr std::uint64_t kCopied = RawL2Entry::kCopied;
constexpr std::uint64_t kCompressed = RawL2Entry::kCompressed;
constexpr std::uint64_t kHost = 7 << 16;

constexpr L2Rules kVersion2{Geometry(16, 4, false), false, false};
constexpr L2Rules kVersion3{Geometry(16, 4, false), true, false};
constexpr L2Rules kExtended{Geometry(16, 4, true), false, false};
constexpr L2Rules kDataFile{Geometry(16, 4, false), true, true};
constexpr L2Rules kExtendedDataFile{Geometry(16, 4, true), false, true};

std::uint64_t bitmap(std::uint32_t zero, std::uint32_t allocated) {
  return std::uint64_t{zero} << 32 | allocated;
}

struct StandardCase {
  const char* name;
  L2Rules rules;
  RawL2Entry raw;
  bool copied;
  bool has_host_cluster;
  std::uint32_t allocated;
  std::uint32_t zero;
};

const std::vector<StandardCase> kStandardCases{
    {"unallocated", kVersion3, {0, 0}, false, false, 0, 0},
    {"data", kVersion3, {kHost, 0}, false, true, 1, 0},
    {"data, copied", kVersion3, {kHost | kCopied, 0}, true, true, 1, 0},
    {"data of version 2", kVersion2, {kHost | kCopied, 0}, true, true, 1, 0},
    {"zero", kVersion3, {1, 0}, false, false, 0, 1},
    {"zero, preallocated", kVersion3, {kHost | 1, 0}, false, true, 0, 1},
    {"zero, preallocated, copied", kVersion3, {kHost | kCopied | 1, 0}, true, true, 0, 1},
    {"last host cluster", kVersion3, {(1ull << 56) - 65536, 0}, false, true, 1, 0},
    {"offset 0 of a data file", kDataFile, {kCopied, 0}, true, true, 1, 0},
    {"zero at offset 0 of a data file", kDataFile, {kCopied | 1, 0}, true, true, 0, 1},
    {"unallocated with a data file", kDataFile, {0, 0}, false, false, 0, 0},
    {"extended: unallocated", kExtended, {0, 0}, false, false, 0, 0},
    {"extended: some zero", kExtended, {0, bitmap(5, 0)}, false, false, 0, 5},
    {"extended: preallocated", kExtended, {kHost | kCopied, 0}, true, true, 0, 0},
    {"extended: all data", kExtended, {kHost | kCopied, bitmap(0, ~0u)}, true, true, ~0u, 0},
    {"extended: of each", kExtended, {kHost, bitmap(0xf0, 0x0f)}, false, true, 0x0f, 0xf0},
    {"extended: offset 0 of a data file",
     kExtendedDataFile,
     {kCopied, bitmap(0, 3)},
     true,
     true,
     3,
     0},
};

TEST(L2Entry, StandardEntriesDecodeAndEncode) {
  for (const StandardCase& c : kStandardCases) {
    const L2Mapping mapping = L2Mapping::decode(c.raw, c.rules);
    EXPECT_EQ(mapping.kind, Kind::standard) << c.name;
    EXPECT_EQ(mapping.copied, c.copied) << c.name;
    EXPECT_EQ(mapping.has_host_cluster, c.has_host_cluster) << c.name;
    EXPECT_EQ(mapping.allocated, c.allocated) << c.name;
    EXPECT_EQ(mapping.zero, c.zero) << c.name;
    EXPECT_EQ(mapping.host_offset.value, c.raw.descriptor & RawL2Entry::kOffsetMask) << c.name;
    EXPECT_EQ(mapping.encode(c.rules), c.raw) << c.name;
  }
}

struct InvalidCase {
  L2Rules rules;
  RawL2Entry raw;
  std::string_view reason;
};

TEST(L2Entry, ContradictionsAreInvalidWithAReason) {
  const std::vector<InvalidCase> cases{
      {kVersion2, {1, 0}, "zero flag in a version 2 image"},
      {kVersion2, {kHost | 1, 0}, "zero flag in a version 2 image"},
      {kVersion3, {512, 0}, "host offset is not a multiple of the cluster size"},
      {kVersion3, {kHost + 32768, 0}, "host offset is not a multiple of the cluster size"},
      {kExtended, {0, bitmap(0, 1)}, "subcluster is allocated without a host cluster"},
      {kExtended, {kHost, bitmap(1, 1)}, "subcluster is both allocated and zero"},
      {kExtended, {kHost, ~0ull}, "subcluster is both allocated and zero"},
      {kExtendedDataFile, {0, bitmap(0, 1)}, "subcluster is allocated without a host cluster"},
      {kDataFile,
       {kCompressed | kHost, 0},
       "compressed cluster in an image with an external data file"},
  };
  for (const InvalidCase& c : cases) {
    const L2Mapping mapping = L2Mapping::decode(c.raw, c.rules);
    ASSERT_EQ(mapping.kind, Kind::invalid) << c.reason;
    EXPECT_EQ(std::string_view(mapping.what_is_wrong), c.reason);
  }
}

TEST(L2Entry, CompressedEntriesDecodeAndEncodeAtEveryClusterSize) {
  std::mt19937_64 random(1);
  for (std::uint32_t bits = kClusterBitsMin; bits <= kClusterBitsMax; ++bits) {
    for (const bool extended : {false, true}) {
      const L2Rules rules{Geometry(bits, 4, extended), !extended, false};
      const Geometry& g = rules.geometry;
      const std::uint64_t end = L2Mapping::compressed_offset_end(g);
      for (int round = 0; round < 200; ++round) {
        const HostOffset offset{round == 0 ? end - 1 : random() % end};
        const std::uint64_t bytes = round == 1 ? g.cluster_size() : 1 + random() % g.cluster_size();
        const RawL2Entry raw = L2Mapping::encode_compressed(offset, bytes, g);
        const L2Mapping mapping = L2Mapping::decode(raw, rules);
        ASSERT_EQ(mapping.kind, Kind::compressed);
        EXPECT_EQ(mapping.host_offset, offset);
        EXPECT_FALSE(mapping.copied);
        EXPECT_GE(mapping.compressed_bytes, bytes);
        EXPECT_LT(mapping.compressed_bytes, bytes + kSectorBytes);
        EXPECT_EQ((offset.value + mapping.compressed_bytes) % kSectorBytes, 0u);
      }
    }
  }
}

TEST(L2Entry, CompressedOffsetsEndWhereTheDescriptorDoes) {
  EXPECT_EQ(L2Mapping::compressed_offset_end(Geometry(21, 4, false)), 1ull << 49);
  EXPECT_EQ(L2Mapping::compressed_offset_end(Geometry(16, 4, false)), 1ull << 54);
  EXPECT_EQ(L2Mapping::compressed_offset_end(Geometry(14, 4, false)), 1ull << 56);
  EXPECT_EQ(L2Mapping::compressed_offset_end(Geometry(9, 4, false)), 1ull << 56);
}

TEST(L2Entry, CompressedOffsetBeyond56BitsIsInvalid) {
  const L2Rules rules{Geometry(9, 4, false), true, false};
  const L2Mapping mapping = L2Mapping::decode({kCompressed | 1ull << 56, 0}, rules);
  ASSERT_EQ(mapping.kind, Kind::invalid);
  EXPECT_EQ(std::string_view(mapping.what_is_wrong), "compressed cluster beyond 2^56");
}

TEST(L2Entry, LongestCompressedLengthIsTwoClustersAtMost) {
  for (std::uint32_t bits = kClusterBitsMin; bits <= kClusterBitsMax; ++bits) {
    const L2Rules rules{Geometry(bits, 4, false), true, false};
    const std::uint32_t offset_bits = 62 - (bits - 8);
    const std::uint64_t all_sectors = (kCompressed - 1) >> offset_bits << offset_bits;
    const L2Mapping mapping = L2Mapping::decode({kCompressed | all_sectors, 0}, rules);
    ASSERT_EQ(mapping.kind, Kind::compressed);
    EXPECT_EQ(mapping.compressed_bytes, 2u << bits);
  }
}

TEST(L2Entry, AnyBitsDecodeToSomething) {
  std::mt19937_64 random(2);
  for (const L2Rules& rules : {kVersion2, kVersion3, kExtended, kDataFile, kExtendedDataFile}) {
    for (int round = 0; round < 20000; ++round) {
      RawL2Entry raw{random() & random(), rules.geometry.extended_l2() ? random() & random() : 0};
      const L2Mapping mapping = L2Mapping::decode(raw, rules);
      EXPECT_EQ(mapping.what_is_wrong != nullptr, mapping.kind == Kind::invalid);
      if (mapping.kind != Kind::standard) continue;
      EXPECT_EQ(mapping.allocated & mapping.zero, 0u);
      EXPECT_TRUE(mapping.has_host_cluster || mapping.allocated == 0);
      EXPECT_EQ(L2Mapping::decode(mapping.encode(rules), rules).encode(rules),
                mapping.encode(rules));
    }
  }
}

TEST(L2Entry, EntriesLieOneBehindTheOther) {
  std::array<std::byte, 64> slice{};
  const RawL2Entry entry{0x0102030405060708, 0x1112131415161718};
  entry.store(slice.data(), 1, kExtended.geometry);
  EXPECT_EQ(slice[16], std::byte{0x01});
  EXPECT_EQ(slice[24], std::byte{0x11});
  EXPECT_EQ(RawL2Entry::load(slice.data(), 1, kExtended.geometry), entry);
  EXPECT_EQ(RawL2Entry::load(slice.data(), 2, kVersion3.geometry),
            (RawL2Entry{0x0102030405060708, 0}));
  RawL2Entry{1, 2}.store(slice.data(), 2, kVersion3.geometry);
  EXPECT_EQ(slice[24], std::byte{0x11});  // standard entries have no bitmap
}

}  // namespace
}  // namespace qcowkit::qcow2
