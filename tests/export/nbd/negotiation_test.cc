#include "export/nbd/negotiation.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>

#include "tests/export/nbd/wire_bytes.h"
#include "tests/support/seeds.h"

namespace qcowkit::nbd::test {
namespace {

std::array<std::byte, 16> option_start(std::uint64_t magic, std::uint32_t option,
                                       std::uint32_t length) {
  const OptionHeader header{magic, option, length};
  std::array<std::byte, 16> bytes;
  std::memcpy(bytes.data(), &header, bytes.size());
  return bytes;
}

TEST(OptionStart, HasItsOptionAndLength) {
  const auto start = parse_option_start(option_start(kOptionMagic, 7, 99));
  ASSERT_TRUE(start);
  EXPECT_EQ(start->option, Option::go);
  EXPECT_EQ(start->length_bytes, 99u);
}

TEST(OptionStart, WithUnknownOptionIsOneAllTheSame) {
  const auto start = parse_option_start(option_start(kOptionMagic, 0xdeadbeef, 1));
  ASSERT_TRUE(start);
  EXPECT_EQ(static_cast<std::uint32_t>(start->option), 0xdeadbeefu);
}

TEST(OptionStart, WithWrongMagicIsNone) {
  EXPECT_FALSE(parse_option_start(option_start(kOptionMagic + 1, 7, 0)));
  EXPECT_FALSE(parse_option_start(option_start(kOptionReplyMagic, 7, 0)));
}

TEST(ProtocolString, HoldsUpTo4096Bytes) {
  EXPECT_EQ(parse_string({}), "");
  EXPECT_EQ(parse_string(Bytes(4096, std::byte{'a'})), std::string(4096, 'a'));
  EXPECT_FALSE(parse_string(Bytes(4097, std::byte{'a'})));
}

TEST(ProtocolString, WithZeroByteIsNone) {
  for (const std::size_t at : {0u, 1u, 2u}) {
    Bytes bytes(3, std::byte{'a'});
    bytes[at] = std::byte{0};
    EXPECT_FALSE(parse_string(bytes)) << at;
  }
}

TEST(InfoRequestData, NameAndWhatIsWanted) {
  const auto request = parse_info_request(info_data("disk", {3, 2}));
  ASSERT_TRUE(request);
  EXPECT_EQ(request->export_name, "disk");
  EXPECT_TRUE(request->wants_block_size);
  EXPECT_TRUE(request->wants_description);
  EXPECT_FALSE(request->wants_name);
}

TEST(InfoRequestData, UnknownTypesAreIgnored) {
  const auto request = parse_info_request(info_data("", {0, 77, 1}));
  ASSERT_TRUE(request);
  EXPECT_TRUE(request->wants_name);
  EXPECT_FALSE(request->wants_block_size);
}

TEST(InfoRequestData, OfAnyOtherLengthIsNone) {
  const Bytes whole = info_data("disk", {1, 3});
  ASSERT_TRUE(parse_info_request(whole));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(parse_info_request(std::span(whole).first(length))) << length;
  }
  Bytes more = whole;
  more.push_back(std::byte{0});
  EXPECT_FALSE(parse_info_request(more));
}

TEST(InfoRequestData, NameLengthBeyondTheDataIsNone) {
  Bytes bytes = info_data("disk");
  store_big_endian<std::uint32_t>(bytes.data(), 0xffffffff);
  EXPECT_FALSE(parse_info_request(bytes));
}

TEST(ContextRequestData, ExportAndQueries) {
  const auto request = parse_meta_context_request(context_data("disk", {"base:", "qemu:x"}));
  ASSERT_TRUE(request);
  EXPECT_EQ(request->export_name, "disk");
  EXPECT_EQ(request->queries, (std::vector<std::string>{"base:", "qemu:x"}));
}

TEST(ContextRequestData, WithoutQueriesIsOne) {
  const auto request = parse_meta_context_request(context_data("", {}));
  ASSERT_TRUE(request);
  EXPECT_TRUE(request->queries.empty());
}

TEST(ContextRequestData, OfAnyOtherLengthIsNone) {
  const Bytes whole = context_data("disk", {"base:allocation", "a:b"});
  ASSERT_TRUE(parse_meta_context_request(whole));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(parse_meta_context_request(std::span(whole).first(length))) << length;
  }
  Bytes more = whole;
  more.push_back(std::byte{'a'});
  EXPECT_FALSE(parse_meta_context_request(more));
}

TEST(ContextRequestData, MoreQueriesThanBytesIsNone) {
  Bytes bytes = context_data("", {});
  store_big_endian<std::uint32_t>(bytes.data() + 4, 0xffffffff);
  EXPECT_FALSE(parse_meta_context_request(bytes));
}

/// Whatever bytes come, a parser answers; and what it takes for good was written in one way only.
TEST(OptionData, RandomBytesAreParsedOrNot) {
  qcowkit::test::for_each_seed(
      2000,
      [](std::uint64_t seed) {
        SCOPED_TRACE("QCOWKIT_SEED=" + std::to_string(seed));
        std::mt19937_64 random(seed);
        Bytes bytes = random() % 2 == 0 ? info_data("a", {1, 2}) : context_data("b", {"c:", "d"});
        for (std::size_t changes = random() % 4; changes > 0; --changes) {
          bytes[random() % bytes.size()] = static_cast<std::byte>(random());
        }
        bytes.resize(random() % 3 == 0 ? random() % 64 : bytes.size());
        if (const auto request = parse_meta_context_request(bytes)) {
          const std::vector<std::string_view> queries(request->queries.begin(),
                                                      request->queries.end());
          EXPECT_EQ(context_data(request->export_name, queries), bytes);
        }
        if (const auto request = parse_info_request(bytes)) {
          EXPECT_LE(request->export_name.size() + 6, bytes.size());
        }
      },
      [] { return testing::Test::HasFailure(); });
}

}  // namespace
}  // namespace qcowkit::nbd::test
