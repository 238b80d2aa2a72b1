// The same bytes to the reference's server and to ours: where they answer differently, on purpose.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/export/nbd/raw_client.h"
#include "tests/export/nbd/served_disk.h"
#include "tests/support/command.h"
#include "tests/support/reference_tools.h"

namespace qcowkit::nbd::test {
namespace {

using qcowkit::test::BackgroundCommand;
using qcowkit::test::have_command;

constexpr std::uint64_t kSize = 1 << 20;

/// Both servers with an image of the same history: data at the beginning, a bitmap that knows them.
class PeerAnswers : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* const tool : {"qemu-nbd", "qemu-img", "qemu-io"}) {
      if (!have_command(tool)) GTEST_SKIP() << "there is no " << tool;
    }
  }
  void serve(bool read_only) {
    ours_.reset();
    theirs_.reset();
    for (const char* const name : {"theirs", "ours"}) {
      qcowkit::test::qemu_img({"create", "-q", "-f", "qcow2", dir_.file(name), "1M"});
      qcowkit::test::qemu_img({"bitmap", "--add", dir_.file(name), "b0"});
      qcowkit::test::qemu_io(dir_.file(name), {"write 0 128k"});
    }
    std::vector<std::string> words = {
        "qemu-nbd", "-t", "-k", dir_.file("their-socket"), "-f", "qcow2", "-x", "e", "-A", "-B",
        "b0",       "-e", "0",  "--discard=unmap"};
    if (read_only) words.push_back("-r");
    words.push_back(dir_.file("theirs"));
    theirs_ = std::make_unique<BackgroundCommand>(words);
    OpenOptions open;
    open.read_only = read_only;
    NbdExport exported;
    exported.name = "e";
    exported.allocation_depth = true;
    exported.bitmaps = {"b0"};
    ours_ = std::make_unique<ServedDisk>(Image::open(dir_.file("ours"), open), exported);
    for (int tries = 0; tries < 1000; ++tries) {
      try {
        RawClient(dir_.file("their-socket"));
        return;
      } catch (const std::system_error&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    }
    FAIL() << "the reference does not listen";
  }

  /// What becomes of it at both.
  void expect_same(const std::string& what, const std::function<std::string(RawClient&)>& talk) {
    const auto outcome = [&](const std::string& socket) -> std::string {
      RawClient client(socket);
      try {
        return talk(client);
      } catch (const std::exception& e) {
        return e.what();
      }
    };
    EXPECT_EQ(outcome(ours_->socket()), outcome(dir_.file("their-socket"))) << what;
  }

  const qcowkit::test::TempDir dir_;
  std::unique_ptr<BackgroundCommand> theirs_;
  std::unique_ptr<ServedDisk> ours_;
};

/// The replies' types; texts of errors, and information that was not asked for, are free.
std::string summary(const OptionReplies& replies) {
  std::string text;
  for (const auto& reply : replies.all) {
    if (reply.type == OptionReply::info) continue;
    text += std::to_string(static_cast<std::uint32_t>(reply.type));
    if (reply.type == OptionReply::server || reply.type == OptionReply::meta_context) {
      text +=
          " " + std::string(reinterpret_cast<const char*>(reply.data.data()), reply.data.size());
    }
    text += "\n";
  }
  return text;
}

Bytes text_bytes(std::string_view text) {
  Bytes bytes;
  append_text(bytes, text);
  return bytes;
}

TEST_F(PeerAnswers, ToOptionsAreTheSame) {
  serve(false);
  Bytes no_room = info_data("e");
  no_room.pop_back();
  Bytes too_much = info_data("e");
  too_much.push_back({});
  Bytes bad_length;
  append(bad_length, be32(0xffffffff));
  append_text(bad_length, "e");
  const std::vector<std::pair<Option, Bytes>> options = {
      {Option::list, {}},
      {Option::list, text_bytes("x")},
      {Option::starttls, {}},
      {Option::starttls, text_bytes("x")},
      {Option::structured_reply, {}},
      {Option::structured_reply, text_bytes("x")},
      {Option::set_meta_context, context_data("e", {kBaseAllocation})},  // before its time
      {static_cast<Option>(0), {}},
      {static_cast<Option>(4), {}},
      {static_cast<Option>(99), text_bytes("what is this")},
      {static_cast<Option>(99), Bytes(20 << 20)},  // long, but no attack
      {Option::info, info_data("e")},
      {Option::info, info_data("e", {77, 3, 3})},
      {Option::info, info_data("other")},
      {Option::info, info_data(std::string(4096, 'a'))},
      {Option::info, info_data(std::string(4097, 'a'))},
      {Option::info, info_data(std::string_view("e\0", 2))},
      {Option::info, info_data("\xff\xfe")},
      {Option::info, {}},
      {Option::info, no_room},
      {Option::info, too_much},
      {Option::info, bad_length},
      {Option::go, info_data("other")},
      {Option::go, {}},
  };
  for (const auto& [option, data] : options) {
    expect_same(std::to_string(static_cast<std::uint32_t>(option)) + " of " +
                    std::to_string(data.size()) + " bytes",
                [&, option = option, &data = data](RawClient& client) {
                  client.greet();
                  const std::string first = summary(client.option(option, data));
                  return first + summary(client.option(Option::info, info_data("e")));
                });
  }
}

TEST_F(PeerAnswers, ToClientFlagsAreTheSame) {
  serve(false);
  for (const std::uint32_t flags : {0u, 1u, 2u, 3u, 4u, 7u}) {
    expect_same("flags " + std::to_string(flags), [flags](RawClient& client) {
      client.greet(flags);
      return summary(client.option(Option::list));
    });
  }
}

TEST_F(PeerAnswers, ToQueriesForContextsAreTheSame) {
  serve(false);
  const std::vector<std::vector<std::string_view>> queries = {
      {},
      {"base:"},
      {"base:allocation"},
      {"base:alloc"},
      {"base:allocationx"},
      {"base"},
      {"qemu:"},
      {"qemu"},
      {"qemu:dirty-bitmap:"},
      {"qemu:dirty-bitmap"},
      {"qemu:dirty-bitmap:b0"},
      {"qemu:dirty-bitmap:b1"},
      {"qemu:allocation-depth"},
      {"qemu:allocation-depth", "base:allocation"},
      {"base:allocation", "base:allocation"},
      {"base:", "qemu:"},
      {"x-other:"},
      {"no colon"},
      {""},
      {":"},
      std::vector<std::string_view>(2000, "x:"),
  };
  for (const Option option : {Option::list_meta_context, Option::set_meta_context}) {
    for (const auto& one : queries) {
      expect_same(one.empty() ? "none" : std::string(one.front()), [&](RawClient& client) {
        client.greet();
        client.option(Option::structured_reply);
        return summary(client.option(option, context_data("e", one)));
      });
    }
    expect_same("other export", [&](RawClient& client) {
      client.greet();
      client.option(Option::structured_reply);
      return summary(client.option(option, context_data("f", {"base:allocation"})));
    });
  }
}

struct Question {
  Command command;
  std::uint64_t offset;
  std::uint64_t length;
  std::uint16_t flags = 0;
};

const std::vector<Question> kQuestions = {
    {Command::read, 0, 512},
    {Command::read, kSize, 0},
    {Command::read, kSize + 1, 0},
    {Command::read, kSize, 512},
    {Command::read, kSize - 256, 512},
    {Command::read, ~0ull, 512},
    {Command::read, 0, 512, command_flag::kFua},
    {Command::read, 0, 512, command_flag::kNoHole},
    {Command::read, 0, 512, command_flag::kReqOne},
    {Command::read, 0, 512, command_flag::kPayloadLen},
    {Command::read, 0, 512, 0x8000},
    {Command::flush, 0, 0},
    {Command::flush, 0, 0, command_flag::kFua},
    {Command::flush, 0, 0, command_flag::kDf},
    {Command::trim, 0, 65536},
    {Command::trim, 1, 511},
    {Command::trim, 0, 0},
    {Command::trim, kSize, 512},
    {Command::trim, 0, 512, command_flag::kNoHole},
    {Command::cache, 0, 65536},
    {Command::cache, 0, 0},
    {Command::cache, kSize, 512},
    {Command::cache, 0, 512, command_flag::kDf},
    {Command::write_zeroes, 0, 512},
    {Command::write_zeroes, 0, 0},
    {Command::write_zeroes, 0, 512, command_flag::kNoHole | command_flag::kFua},
    {Command::write_zeroes, 0, 512, command_flag::kDf},
    {Command::block_status, 0, 512},
    {static_cast<Command>(8), 0, 512},
    {static_cast<Command>(99), 0, 512},
    {static_cast<Command>(0xffff), 0, 512, 0xffff},
};

TEST_F(PeerAnswers, ToRequestsAreTheSame) {
  for (const bool read_only : {false, true}) {
    serve(read_only);
    for (const Style style : {Style::simple, Style::structured}) {
      for (const Question& question : kQuestions) {
        const auto number = static_cast<std::uint16_t>(question.command);
        expect_same(
            "command " + std::to_string(number) + " at " + std::to_string(question.offset) + ", " +
                std::to_string(question.length) + " bytes, flags " +
                std::to_string(question.flags) + (read_only ? ", read-only" : ""),
            [&](RawClient& client) {
              client.enter(style, "e");
              if (question.command == Command::read) {
                client.request(question.command, question.offset, question.length, question.flags);
                const Chunk chunk = client.chunk(question.length);
                const auto error = static_cast<std::uint32_t>(chunk.error);
                return error != 0 ? std::to_string(error)
                                  : std::to_string(chunk.payload.size()) + " bytes";
              }
              // The reference acknowledges with simple replies, also where others may be.
              client.request(question.command, question.offset, question.length, question.flags);
              const auto error = static_cast<std::uint32_t>(client.any_answer());
              // Of what is not to be changed the protocol has EPERM said.
              const bool is_refused = error == static_cast<std::uint32_t>(WireError::perm) ||
                                      error == static_cast<std::uint32_t>(WireError::inval);
              return read_only && is_refused ? std::string("refused") : std::to_string(error);
            });
      }
    }
  }
}

TEST_F(PeerAnswers, ToBlockStatusAreTheSame) {
  serve(true);
  const std::vector<Question> questions = {
      {Command::block_status, 0, kSize},
      {Command::block_status, 0, kSize, command_flag::kReqOne},
      {Command::block_status, 0, 0},
      {Command::block_status, kSize, 512},
      {Command::block_status, kSize - 512, 1024},
      {Command::block_status, 0, 0xffffffff},
      {Command::block_status, 0, 512, command_flag::kFua},
      {Command::block_status, 0, 512, command_flag::kDf},
      {Command::block_status, 1, 511},
      {Command::block_status, 131071, 3},
      {Command::block_status, 0, 512, command_flag::kPayloadLen},
  };
  const std::vector<std::vector<std::string_view>> contexts = {
      {"base:allocation"},
      {"qemu:allocation-depth"},
      {"qemu:dirty-bitmap:b0"},
      {"base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b0"},
      {"base:"},
  };
  for (const auto& chosen : contexts) {
    for (const Question& question : questions) {
      expect_same(
          std::string(chosen.front()) + " at " + std::to_string(question.offset) + ", " +
              std::to_string(question.length) + " bytes, flags " + std::to_string(question.flags),
          [&](RawClient& client) {
            client.enter(Style::structured, "e", chosen);
            client.request(question.command, question.offset, question.length, question.flags);
            std::string all;
            while (true) {
              const Chunk chunk = client.chunk();
              all += std::to_string(static_cast<std::uint16_t>(chunk.type)) + " " +
                     std::to_string(static_cast<std::uint32_t>(chunk.error));
              if (chunk.type == ReplyType::block_status) {
                for (const std::byte byte : chunk.payload) {
                  all += " " + std::to_string(std::to_integer<int>(byte));
                }
              }
              all += "\n";
              if (chunk.is_last) return all;
            }
          });
    }
  }
}

}  // namespace
}  // namespace qcowkit::nbd::test
