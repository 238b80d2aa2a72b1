#include "export/nbd/request.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tests/export/nbd/wire_bytes.h"
#include "tests/support/seeds.h"

namespace qcowkit::nbd::test {
namespace {

constexpr std::uint64_t kSize = 1 << 20;
constexpr std::uint16_t kAllFlags[] = {command_flag::kFua,      command_flag::kNoHole,
                                       command_flag::kDf,       command_flag::kReqOne,
                                       command_flag::kFastZero, command_flag::kPayloadLen};

Rules rules(Style style, bool read_only = false, std::uint32_t contexts = 1) {
  return {style, kSize, read_only, contexts};
}

Request request(Command command, std::uint64_t offset, std::uint64_t length,
                std::uint16_t flags = 0) {
  return {.command = command,
          .flags = flags,
          .cookie = 1,
          .offset = offset,
          .length_bytes = length,
          .payload_bytes = 0};
}

WireError check(Command command, std::uint64_t offset, std::uint64_t length,
                std::uint16_t flags = 0, Style style = Style::structured) {
  return check_request(request(command, offset, length, flags), rules(style));
}

TEST(CompactRequestBytes, AllFields) {
  const auto parsed =
      parse_request(compact(Command::write, 0x123456789a, 4096, 1, 42), Style::structured);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->command, Command::write);
  EXPECT_EQ(parsed->flags, 1);
  EXPECT_EQ(parsed->cookie, 42u);
  EXPECT_EQ(parsed->offset, 0x123456789au);
  EXPECT_EQ(parsed->length_bytes, 4096u);
  EXPECT_EQ(parsed->payload_bytes, 4096u);
}

TEST(CompactRequestBytes, OnlyWritesHaveAPayload) {
  for (std::uint16_t type = 0; type < 12; ++type) {
    const auto command = static_cast<Command>(type);
    const auto parsed = parse_request(compact(command, 0, 512, 0x3f), Style::simple);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->payload_bytes, command == Command::write ? 512u : 0u) << type;
  }
}

TEST(RequestBytes, WithTheOtherStylesMagicEndTheConnection) {
  Bytes bytes = extended(Command::read, 0, 1);
  EXPECT_FALSE(parse_request(std::span(bytes).first(28), Style::simple));
  bytes = compact(Command::read, 0, 1);
  bytes.resize(32);
  EXPECT_FALSE(parse_request(bytes, Style::extended));
}

TEST(ExtendedRequestBytes, LengthHas64Bits) {
  const auto parsed = parse_request(extended(Command::trim, 1, 0x123456789a), Style::extended);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->length_bytes, 0x123456789au);
  EXPECT_EQ(parsed->payload_bytes, 0u);
}

TEST(ExtendedRequestBytes, PayloadIsWhatTheFlagSays) {
  const std::uint16_t flag = command_flag::kPayloadLen;
  const auto write = parse_request(extended(Command::write, 0, 512, flag), Style::extended);
  EXPECT_EQ(write->payload_bytes, 512u);
  EXPECT_EQ(write->length_bytes, 512u);
  const auto without = parse_request(extended(Command::write, 0, 512), Style::extended);
  EXPECT_EQ(without->payload_bytes, 0u);
  const auto status = parse_request(extended(Command::block_status, 0, 12, flag), Style::extended);
  EXPECT_EQ(status->payload_bytes, 12u);
  EXPECT_EQ(status->length_bytes, 0u);
}

TEST(ExtendedRequestBytes, PayloadBeyondTheMaximumEndsTheConnection) {
  const std::uint16_t flag = command_flag::kPayloadLen;
  EXPECT_TRUE(parse_request(extended(Command::write, 0, 1u << 25, flag), Style::extended));
  EXPECT_FALSE(parse_request(extended(Command::write, 0, (1u << 25) + 1, flag), Style::extended));
  EXPECT_FALSE(parse_request(extended(Command::read, 0, ~0ull, flag), Style::extended));
}

TEST(CheckRequest, RangesUpToTheEndAreServed) {
  for (const Command command : {Command::read, Command::write, Command::trim, Command::cache,
                                Command::write_zeroes, Command::block_status}) {
    EXPECT_EQ(check(command, kSize - 1, 1), WireError::none) << static_cast<int>(command);
    EXPECT_EQ(check(command, 0, kSize), WireError::none) << static_cast<int>(command);
  }
}

TEST(CheckRequest, RangesBeyondTheEndAreRefused) {
  for (const auto& [offset, length] : {std::pair<std::uint64_t, std::uint64_t>{kSize - 1, 2},
                                       {kSize, 1},
                                       {kSize + 1, 0},
                                       {~0ull, 1},
                                       {~0ull - 10, 20},
                                       {1, kSize}}) {
    EXPECT_EQ(check(Command::read, offset, length), WireError::inval);
    EXPECT_EQ(check(Command::trim, offset, length), WireError::inval);
    EXPECT_EQ(check(Command::cache, offset, length), WireError::inval);
    EXPECT_EQ(check(Command::write, offset, length), WireError::nospc);
    EXPECT_EQ(check(Command::write_zeroes, offset, length), WireError::nospc);
  }
}

TEST(CheckRequest, FlushHasNoRange) {
  EXPECT_EQ(check(Command::flush, 0, 0), WireError::none);
  EXPECT_EQ(check(Command::flush, ~0ull, 99), WireError::none);
}

TEST(CheckRequest, UnknownCommandsAreInvalid) {
  for (const int type : {2, 8, 9, 100, 0xffff}) {
    EXPECT_EQ(check(static_cast<Command>(type), 0, 1), WireError::inval) << type;
  }
}

/// Which flags go with which command: the specification's table, for each style.
TEST(CheckRequest, FlagsAreThoseOfTheCommand) {
  using namespace command_flag;
  const auto expect = [](Style style, Command command, std::uint16_t allowed) {
    for (const std::uint16_t flag : kAllFlags) {
      // A write with extended headers must have its payload announced.
      const std::uint16_t always =
          style == Style::extended && command == Command::write ? kPayloadLen : 0;
      const WireError expected = (flag & allowed) != 0 ? WireError::none : WireError::inval;
      Request wanted = request(command, 0, 512, flag | always);
      if (wanted.has(kPayloadLen)) wanted.payload_bytes = 12;
      EXPECT_EQ(check_request(wanted, rules(style)), expected)
          << "style " << static_cast<int>(style) << " command " << static_cast<int>(command)
          << " flag " << flag;
    }
  };
  for (const Style style : {Style::simple, Style::structured, Style::extended}) {
    const bool is_extended = style == Style::extended;
    const std::uint16_t payload = is_extended ? kPayloadLen : 0;
    expect(style, Command::read, style == Style::simple ? kFua : kFua | kDf);
    expect(style, Command::write, static_cast<std::uint16_t>(kFua | payload));
    expect(style, Command::flush, kFua);
    expect(style, Command::trim, kFua);
    expect(style, Command::cache, kFua);
    expect(style, Command::write_zeroes, kFua | kNoHole | kFastZero);
    expect(style, Command::block_status, static_cast<std::uint16_t>(kFua | kReqOne | payload));
  }
}

TEST(CheckRequest, UndefinedFlagsAreInvalid) {
  for (int bit = 6; bit < 16; ++bit) {
    EXPECT_EQ(check(Command::read, 0, 1, static_cast<std::uint16_t>(1u << bit)), WireError::inval);
  }
}

TEST(CheckRequest, ExtendedWriteWithoutPayloadIsInvalid) {
  EXPECT_EQ(check(Command::write, 0, 512, 0, Style::extended), WireError::inval);
}

TEST(CheckRequest, ReadOnlyExportsRefuseChanges) {
  const Rules read_only = rules(Style::structured, true);
  for (const Command command : {Command::write, Command::trim, Command::write_zeroes}) {
    EXPECT_EQ(check_request(request(command, 0, 1), read_only), WireError::perm);
  }
  for (const Command command :
       {Command::read, Command::flush, Command::cache, Command::block_status}) {
    EXPECT_EQ(check_request(request(command, 0, 1), read_only), WireError::none);
  }
}

TEST(CheckRequest, PayloadsBeyondTheMaximumAreRefused) {
  const Rules large{Style::structured, 1ull << 40, false, 1};
  const Rules simple{Style::simple, 1ull << 40, false, 0};
  const std::uint64_t most = 1u << 25;
  EXPECT_EQ(check_request(request(Command::read, 0, most), large), WireError::none);
  EXPECT_EQ(check_request(request(Command::read, 0, most + 1), large), WireError::overflow);
  EXPECT_EQ(check_request(request(Command::read, 0, most + 1), simple), WireError::inval);
  EXPECT_EQ(check_request(request(Command::write, 0, most), large), WireError::none);
  EXPECT_EQ(check_request(request(Command::write, 0, most + 1), large), WireError::inval);
  for (const Command command :
       {Command::trim, Command::write_zeroes, Command::cache, Command::block_status}) {
    EXPECT_EQ(check_request(request(command, 0, 1ull << 40), large), WireError::none);
  }
}

TEST(CheckRequest, BlockStatusNeedsAContextAndALength) {
  EXPECT_EQ(check_request(request(Command::block_status, 0, 1), rules(Style::structured, false, 0)),
            WireError::inval);
  EXPECT_EQ(check(Command::block_status, 0, 0), WireError::inval);
}

TEST(CheckRequest, TooLargeIsNoReasonWhereThereIsNothing) {
  // Smaller requests would fail as well.
  EXPECT_EQ(check(Command::read, kSize, 1ull << 26), WireError::inval);
  EXPECT_EQ(check(Command::write, kSize, 1ull << 26), WireError::nospc);
}

TEST(CheckRequest, FiltersHaveNoMoreContextsThanWereSelected) {
  Request filtered = request(Command::block_status, 0, 0, command_flag::kPayloadLen);
  const Rules two = rules(Style::extended, false, 2);
  for (const auto& [bytes, expected] :
       std::vector<std::pair<std::uint32_t, WireError>>{{0, WireError::inval},
                                                        {12, WireError::none},
                                                        {16, WireError::none},
                                                        {17, WireError::inval},
                                                        {1u << 25, WireError::inval}}) {
    filtered.payload_bytes = bytes;
    EXPECT_EQ(check_request(filtered, two), expected) << bytes;
  }
}

class StatusFilterPayload : public testing::Test {
 protected:
  StatusFilterPayload() {
    selected_.push_back({0, MetaContext::Kind::allocation, "base:allocation", ""});
    selected_.push_back({2, MetaContext::Kind::bitmap, "qemu:dirty-bitmap:b", "b"});
  }
  static Bytes payload(std::uint64_t length, const std::vector<std::uint32_t>& ids) {
    Bytes bytes;
    append(bytes, be64(length));
    for (const std::uint32_t id : ids) append(bytes, be32(id));
    return bytes;
  }
  std::vector<MetaContext> selected_;
};

TEST_F(StatusFilterPayload, LengthAndContexts) {
  const auto filter = parse_status_filter(payload(1ull << 40, {2, 0}), selected_);
  ASSERT_TRUE(filter);
  EXPECT_EQ(filter->length_bytes, 1ull << 40);
  EXPECT_EQ(filter->context_ids, (std::vector<std::uint32_t>{2, 0}));
}

TEST_F(StatusFilterPayload, UnknownAndRepeatedContextsAreNone) {
  EXPECT_FALSE(parse_status_filter(payload(1, {1}), selected_));
  EXPECT_FALSE(parse_status_filter(payload(1, {0, 1}), selected_));
  EXPECT_FALSE(parse_status_filter(payload(1, {0, 0}), selected_));
  EXPECT_FALSE(parse_status_filter(payload(1, {0, 2, 0}), selected_));
  EXPECT_FALSE(parse_status_filter(payload(1, {}), selected_));
}

TEST_F(StatusFilterPayload, OfAnyOtherLengthIsNone) {
  const Bytes whole = payload(1, {2});
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(parse_status_filter(std::span(whole).first(length), selected_)) << length;
  }
}

/// Whatever comes, what is let through lies within the export and has a payload that is bounded.
TEST(RequestBytes, RandomOnesAreRefusedOrWithinBounds) {
  qcowkit::test::for_each_seed(
      20000,
      [](std::uint64_t seed) {
        SCOPED_TRACE("QCOWKIT_SEED=" + std::to_string(seed));
        std::mt19937_64 random(seed);
        const Style style = static_cast<Style>(random() % 3);
        const auto number = [&]() -> std::uint64_t { return random() >> (random() % 64); };
        const auto command = static_cast<Command>(random() % 10);
        const auto flags = static_cast<std::uint16_t>(number());
        Bytes bytes = style == Style::extended
                          ? extended(command, number(), number(), flags)
                          : compact(command, number(), static_cast<std::uint32_t>(number()), flags);
        if (random() % 4 == 0) bytes[random() % bytes.size()] = static_cast<std::byte>(random());
        const Rules bounds{style, number(), random() % 2 == 0, random() % 2 == 0};
        const auto parsed = parse_request(bytes, style);
        if (!parsed || check_request(*parsed, bounds) != WireError::none) return;
        EXPECT_LE(parsed->payload_bytes, 1u << 25);
        if (parsed->command == Command::write) {
          EXPECT_EQ(parsed->payload_bytes, parsed->length_bytes);
        }
        if (parsed->command == Command::flush) return;
        EXPECT_LE(parsed->offset, bounds.size_bytes);
        EXPECT_LE(parsed->length_bytes, bounds.size_bytes - parsed->offset);
      },
      [] { return testing::Test::HasFailure(); });
}

}  // namespace
}  // namespace qcowkit::nbd::test
