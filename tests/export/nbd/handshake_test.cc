// Negotiation as clients live through it.
#include "export/nbd/handshake.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "tests/export/nbd/raw_client.h"
#include "tests/export/nbd/served_disk.h"

namespace qcowkit::nbd::test {
namespace {

constexpr std::uint64_t kSize = 1 << 20;

class HandshakeOf : public testing::Test {
 protected:
  HandshakeOf() : disk_(memory_image("qcow2", kSize)), client_(disk_.socket()) {
    NbdExport second;
    second.name = "part";
    second.description = "the second half";
    second.image = disk_.image.get();
    second.read_only = true;
    second.guest_offset = kSize / 2;
    second.allocation_depth = true;
    disk_.server.add_export(second);
  }
  /// Of the present state of affairs; `client_` has seen another.
  void reconnect() { client_ = RawClient(disk_.socket()); }

  ServedDisk disk_;
  RawClient client_;
};

std::string text(const Bytes& bytes, std::size_t from = 0) {
  return {reinterpret_cast<const char*>(bytes.data()) + from, bytes.size() - from};
}

TEST_F(HandshakeOf, ListTellsOfEveryExport) {
  reconnect();
  client_.greet();
  const OptionReplies replies = client_.option(Option::list);
  ASSERT_EQ(replies.all.size(), 3u);
  EXPECT_EQ(replies.all[0].type, OptionReply::server);
  EXPECT_EQ(text(replies.all[0].data, 4), "");
  EXPECT_EQ(first<be32>(replies.all[1].data), 4u);
  EXPECT_EQ(text(replies.all[1].data, 4), "partthe second half");
  EXPECT_EQ(replies.last(), OptionReply::ack);
}

TEST_F(HandshakeOf, OptionsWithoutDataRefuseData) {
  client_.greet();
  const Bytes data(3);
  for (const Option option :
       {Option::list, Option::starttls, Option::structured_reply, Option::extended_headers}) {
    EXPECT_EQ(client_.option(option, data).last(), OptionReply::invalid)
        << static_cast<std::uint32_t>(option);
  }
  EXPECT_EQ(client_.option(Option::abort, data).last(), OptionReply::ack);
  EXPECT_TRUE(client_.is_hung_up());
}

TEST_F(HandshakeOf, UnknownOptionsAreAnsweredAndTheNextIsServed) {
  client_.greet();
  for (const std::uint32_t option : {0u, 4u, 12u, 0xffffffffu}) {
    EXPECT_EQ(client_.option(static_cast<Option>(option), Bytes(100)).last(),
              OptionReply::unsupported);
  }
  EXPECT_EQ(client_.option(Option::go, info_data("")).last(), OptionReply::ack);
}

TEST_F(HandshakeOf, OversizedOptionsAreSkipped) {
  client_.greet();
  EXPECT_EQ(client_.option(Option::info, Bytes(kOptionBytesMax + 1)).last(), OptionReply::too_big);
  EXPECT_EQ(client_.option(Option::info, info_data("")).last(), OptionReply::ack);
}

TEST_F(HandshakeOf, UnknownOptionsAreSaidToBeSoHoweverLongTheyAre) {
  client_.greet();
  const auto unknown = static_cast<Option>(99);
  EXPECT_EQ(client_.option(unknown, Bytes(kPayloadBytesDefault)).last(), OptionReply::unsupported);
  EXPECT_EQ(client_.option(Option::list, Bytes(kOptionBytesMax + 1)).last(), OptionReply::invalid);
  EXPECT_EQ(client_.option(Option::info, info_data("")).last(), OptionReply::ack);
}

TEST_F(HandshakeOf, InfoTellsWhatIsAskedFor) {
  reconnect();
  client_.greet();
  const OptionReplies replies = client_.option(Option::info, info_data("part", {1, 2, 3}));
  ASSERT_EQ(replies.all.size(), 5u);
  const auto about = first<InfoExport>(replies.all[0].data);
  EXPECT_EQ(about.type, 0);
  EXPECT_EQ(about.size, kSize / 2);
  EXPECT_NE(about.transmission_flags & transmission_flag::kReadOnly, 0);
  EXPECT_EQ(text(replies.all[1].data, 2), "part");
  EXPECT_EQ(text(replies.all[2].data, 2), "the second half");
  const auto sizes = first<InfoBlockSize>(replies.all[3].data);
  EXPECT_EQ(sizes.minimum, 1u);
  EXPECT_EQ(sizes.preferred, 4096u);
  EXPECT_EQ(sizes.maximum_payload, 1u << 25);
}

TEST_F(HandshakeOf, InfoForAnUnknownExportIsAnErrorThatLeavesAChoice) {
  client_.greet();
  EXPECT_EQ(client_.option(Option::info, info_data("other")).last(), OptionReply::unknown_export);
  EXPECT_EQ(client_.option(Option::go, info_data("other")).last(), OptionReply::unknown_export);
  EXPECT_EQ(client_.option(Option::go, Bytes(2)).last(), OptionReply::invalid);
  EXPECT_EQ(client_.option(Option::go, info_data("")).last(), OptionReply::ack);
}

TEST_F(HandshakeOf, FlagsFollowWhatWasNegotiated) {
  using namespace transmission_flag;
  const std::uint16_t always = kHasFlags | kSendFlush | kSendFua | kSendCache | kCanMultiConn;
  const std::uint16_t writable = always | kSendTrim | kSendWriteZeroes | kSendFastZero;
  client_.enter(Style::simple);
  EXPECT_EQ(client_.transmission_flags(), writable);
  RawClient structured(disk_.socket());
  structured.enter(Style::structured, "part");
  EXPECT_EQ(structured.transmission_flags(), always | kReadOnly | kSendDf);
  RawClient extended(disk_.socket());
  extended.enter(Style::extended, "", {kBaseAllocation});
  EXPECT_EQ(extended.transmission_flags(), writable | kSendDf | kBlockStatusPayload);
  RawClient without(disk_.socket());
  without.enter(Style::extended);
  EXPECT_EQ(without.transmission_flags(), writable | kSendDf);
}

TEST_F(HandshakeOf, ExportNameEntersWithOrWithoutZeroes) {
  for (const std::uint32_t flags : {0u, client_flag::kNoZeroes, client_flag::kKnown}) {
    reconnect();
    client_.greet(flags);
    Bytes name;
    append_text(name, "part");
    client_.send_option(Option::export_name, name);
    const auto reply = first<ExportNameReply>(client_.receive(sizeof(ExportNameReply)));
    EXPECT_EQ(reply.size, kSize / 2);
    if ((flags & client_flag::kNoZeroes) == 0) {
      EXPECT_EQ(client_.receive(kExportNameZeroes), Bytes(kExportNameZeroes));
    }
    EXPECT_EQ(client_.read(0, 16), Bytes(16));
  }
}

TEST_F(HandshakeOf, ExportNameThatIsUnknownEndsTheConnection) {
  client_.greet();
  client_.send_option(Option::export_name, Bytes(3, std::byte{'x'}));
  EXPECT_TRUE(client_.is_hung_up());
}

TEST_F(HandshakeOf, ExportNameAfterExtendedHeadersEndsTheConnection) {
  client_.greet();
  EXPECT_EQ(client_.option(Option::extended_headers).last(), OptionReply::ack);
  client_.send_option(Option::export_name);
  EXPECT_TRUE(client_.is_hung_up());
}

TEST_F(HandshakeOf, ClientsOfTheOldestKindHaveOneOption) {
  client_.greet(0);
  client_.send_option(Option::list);
  EXPECT_TRUE(client_.is_hung_up());
}

TEST_F(HandshakeOf, WrongFlagsAndMagicEndTheConnection) {
  client_.greet(4);
  EXPECT_TRUE(client_.is_hung_up());
  reconnect();
  client_.greet();
  client_.send(Bytes(16, std::byte{'N'}));
  EXPECT_TRUE(client_.is_hung_up());
  EXPECT_TRUE(disk_.diary.wait_for("problem client", 2));
}

TEST_F(HandshakeOf, StructuredRepliesAreNoStepBackFromExtendedHeaders) {
  client_.greet();
  EXPECT_EQ(client_.option(Option::structured_reply).last(), OptionReply::ack);
  EXPECT_EQ(client_.option(Option::structured_reply).last(), OptionReply::ack);
  EXPECT_EQ(client_.option(Option::extended_headers).last(), OptionReply::ack);
  EXPECT_EQ(client_.option(Option::extended_headers).last(), OptionReply::invalid);
  EXPECT_EQ(client_.option(Option::structured_reply).last(),
            OptionReply::extended_headers_required);
}

TEST_F(HandshakeOf, ContextsAreListedAndSelected) {
  reconnect();
  client_.greet();
  const Bytes all = context_data("part", {});
  EXPECT_EQ(client_.option(Option::list_meta_context, all).last(), OptionReply::invalid);
  client_.option(Option::structured_reply);
  OptionReplies replies = client_.option(Option::list_meta_context, all);
  ASSERT_EQ(replies.all.size(), 3u);
  EXPECT_EQ(text(replies.all[0].data, 4), "base:allocation");
  EXPECT_EQ(text(replies.all[1].data, 4), "qemu:allocation-depth");
  replies = client_.option(Option::set_meta_context, all);
  EXPECT_EQ(replies.all.size(), 1u);
  replies =
      client_.option(Option::set_meta_context, context_data("part", {"qemu:allocation-depth"}));
  ASSERT_EQ(replies.all.size(), 2u);
  EXPECT_EQ(client_.option(Option::set_meta_context, context_data("other", {"base:"})).last(),
            OptionReply::unknown_export);
  EXPECT_EQ(client_.option(Option::list_meta_context, Bytes(5)).last(), OptionReply::invalid);
}

TEST_F(HandshakeOf, ContextsOfAnotherExportAreNoContexts) {
  client_.enter(Style::structured, "");
  RawClient other(disk_.socket());
  other.greet();
  other.option(Option::extended_headers);
  other.option(Option::set_meta_context, context_data("part", {kBaseAllocation}));
  const OptionReplies replies = other.option(Option::info, info_data(""));
  EXPECT_EQ(first<InfoExport>(replies.all[0].data).transmission_flags &
                transmission_flag::kBlockStatusPayload,
            0);
}

TEST_F(HandshakeOf, EndlessOptionsEndTheConnection) {
  client_.greet();
  Bytes many;
  for (int i = 0; i < 1001; ++i) {
    append(many, OptionHeader{kOptionMagic, static_cast<std::uint32_t>(Option::list), 0u});
  }
  client_.send(many);
  EXPECT_TRUE(disk_.diary.wait_for("problem"));
}

TEST_F(HandshakeOf, OptionOfGigabytesEndsTheConnection) {
  client_.greet();
  Bytes header;
  append(header, OptionHeader{kOptionMagic, 6u, 0xffffffffu});
  client_.send(header);
  EXPECT_TRUE(client_.is_hung_up());
}

TEST_F(HandshakeOf, WithoutTlsItIsNotStarted) {
  client_.greet();
  EXPECT_EQ(client_.option(Option::starttls).last(), OptionReply::policy);
}

/// A client that sends all it has to say at once.
class Letter final : public NbdTransport {
 public:
  explicit Letter(Bytes bytes) : bytes_(std::move(bytes)) {}

  std::optional<std::size_t> receive(std::span<std::byte> into) override {
    const std::size_t count = std::min(into.size(), bytes_.size() - read_);
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(read_), count, into.begin());
    read_ += count;
    return count;
  }
  void wait() override {}
  void send(std::span<const iovec> from) override {
    for (const iovec& buffer : from) {
      const auto* const bytes = static_cast<const std::byte*>(buffer.iov_base);
      answer.insert(answer.end(), bytes, bytes + buffer.iov_len);
    }
  }
  void shut_down(Direction /*direction*/) noexcept override {}

  Bytes answer;

 private:
  const Bytes bytes_;
  std::size_t read_ = 0;
};

Bytes option_bytes(Option option, const Bytes& data) {
  Bytes bytes;
  append(bytes, OptionHeader{kOptionMagic, static_cast<std::uint32_t>(option),
                             static_cast<std::uint32_t>(data.size())});
  bytes.insert(bytes.end(), data.begin(), data.end());
  return bytes;
}

TEST(HandshakeOfAStoppingServer, SaysSoToAllButWhoLeaves) {
  const auto image = memory_image("raw", kSize);
  NbdExport exported;
  exported.image = image.get();
  const Exports exports{std::make_shared<const ServedExport>(exported)};
  Bytes bytes;
  append(bytes, be32(client_flag::kKnown));
  const std::vector<Option> options = {Option::list, Option::structured_reply, Option::go,
                                       static_cast<Option>(99), Option::abort};
  for (const Option option : options) {
    const Bytes one = option_bytes(option, option == Option::go ? info_data("") : Bytes());
    bytes.insert(bytes.end(), one.begin(), one.end());
  }
  const auto letter = std::make_shared<Letter>(bytes);
  std::shared_ptr<NbdTransport> transport = letter;
  const std::atomic<bool> is_stopping{true};
  EXPECT_FALSE(Handshake(transport, exports, nullptr, is_stopping).run());
  std::span<const std::byte> rest(letter->answer);
  rest = rest.subspan(sizeof(ServerGreeting));
  for (const Option option : options) {
    const auto header = first<OptionReplyHeader>(rest);
    EXPECT_EQ(header.option, static_cast<std::uint32_t>(option));
    EXPECT_EQ(static_cast<OptionReply>(std::uint32_t{header.type}),
              option == Option::abort ? OptionReply::ack : OptionReply::shutdown);
    rest = rest.subspan(sizeof header + header.length);
  }
  EXPECT_TRUE(rest.empty());
}

/// Encrypts nothing, but has to be asked to.
class NoTls final : public NbdTls {
 public:
  std::unique_ptr<NbdTransport> accept(std::shared_ptr<NbdTransport> plain) override {
    if (refuses) throw Error(Errc::invalid_argument, "not this client");
    return std::make_unique<Wrapped>(std::move(plain), goodbyes);
  }
  std::atomic<bool> refuses{false};
  std::atomic<int> goodbyes{0};

 private:
  struct Wrapped final : NbdTransport {
    Wrapped(std::shared_ptr<NbdTransport> inner, std::atomic<int>& goodbye_count)
        : plain(std::move(inner)), goodbyes(goodbye_count) {}
    std::optional<std::size_t> receive(std::span<std::byte> into) override {
      return plain->receive(into);
    }
    void wait() override { plain->wait(); }
    void send(std::span<const iovec> from) override { plain->send(from); }
    void say_goodbye() noexcept override { ++goodbyes; }
    void shut_down(Direction direction) noexcept override { plain->shut_down(direction); }
    const std::shared_ptr<NbdTransport> plain;
    std::atomic<int>& goodbyes;
  };
};

class HandshakeWithTls : public testing::Test {
 protected:
  HandshakeWithTls()
      : disk_(memory_image("raw", kSize), {}, {.tls = tls_}), client_(disk_.socket()) {
    client_.greet();
  }

  const std::shared_ptr<NoTls> tls_ = std::make_shared<NoTls>();
  ServedDisk disk_;
  RawClient client_;
};

TEST_F(HandshakeWithTls, NothingElseIsServedBefore) {
  for (const Option option : {Option::list, Option::info, Option::go, Option::structured_reply,
                              Option::set_meta_context, static_cast<Option>(99)}) {
    EXPECT_EQ(client_.option(option).last(), OptionReply::tls_required);
  }
  EXPECT_EQ(client_.option(Option::info, Bytes(kOptionBytesMax + 1)).last(),
            OptionReply::tls_required);
  EXPECT_EQ(client_.option(Option::abort).last(), OptionReply::ack);
}

TEST_F(HandshakeWithTls, ExportNameInTheClearEndsTheConnection) {
  client_.send_option(Option::export_name);
  EXPECT_TRUE(client_.is_hung_up());
}

TEST_F(HandshakeWithTls, OnceStartedAllIsServed) {
  EXPECT_EQ(client_.option(Option::starttls).last(), OptionReply::ack);
  EXPECT_EQ(client_.option(Option::starttls).last(), OptionReply::invalid);
  EXPECT_EQ(client_.option(Option::go, info_data("")).last(), OptionReply::ack);
  EXPECT_EQ(client_.read(0, 16), Bytes(16));
  client_.request(Command::disconnect, 0, 0);
  EXPECT_TRUE(client_.is_hung_up());
  EXPECT_EQ(tls_->goodbyes, 1);
}

TEST_F(HandshakeWithTls, ClientThatIsNotLetInIsSentAway) {
  tls_->refuses = true;
  EXPECT_EQ(client_.option(Option::starttls).last(), OptionReply::ack);
  EXPECT_TRUE(client_.is_hung_up());
  EXPECT_TRUE(disk_.diary.wait_for("problem client 1: not this client"));
}

}  // namespace
}  // namespace qcowkit::nbd::test
