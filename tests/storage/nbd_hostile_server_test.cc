// The driver "nbd", with servers that break the protocol: each request ends, with an error or with
// what the server has said, and nothing is read that was not sent.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/nbd_wire.h"
#include "storage/nbd_storage.h"
#include "tests/support/errors.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::test {
namespace {

using namespace nbd;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kSize = 128 << 20;
constexpr std::uint32_t kLength = 8192;  // of the reads
constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

template <typename Raw>
Bytes bytes_of(const Raw& raw) {
  const auto* const from = reinterpret_cast<const std::byte*>(&raw);
  return {from, from + sizeof raw};
}
Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

Bytes chunk(std::uint64_t cookie, ReplyType type, const Bytes& payload,
            std::uint16_t flags = kReplyFlagDone) {
  return bytes_of(StructuredReply{kStructuredReplyMagic, flags, static_cast<std::uint16_t>(type),
                                  cookie, static_cast<std::uint32_t>(payload.size())}) +
         payload;
}
Bytes data_chunk(std::uint64_t cookie, std::uint64_t offset, std::size_t length,
                 std::uint16_t flags = kReplyFlagDone) {
  return chunk(cookie, ReplyType::offset_data,
               bytes_of(OffsetData{offset}) + Bytes(length, std::byte{0x5a}), flags);
}
Bytes hole_chunk(std::uint64_t cookie, std::uint64_t offset, std::uint32_t length,
                 std::uint16_t flags = kReplyFlagDone) {
  return chunk(cookie, ReplyType::offset_hole, bytes_of(OffsetHole{offset, length}), flags);
}
Bytes status_chunk(std::uint64_t cookie, std::uint32_t context,
                   const std::vector<Descriptor>& extents) {
  Bytes payload = bytes_of(BlockStatus{context});
  for (const Descriptor& extent : extents) payload = std::move(payload) + bytes_of(extent);
  return chunk(cookie, ReplyType::block_status, payload);
}

constexpr std::uint32_t kContext = 5;

/// What a server says; by default, what it should.
struct Manners {
  Bytes greeting = bytes_of(
      ServerGreeting{kInitPassword, kOptionMagic,
                     std::uint16_t{handshake_flag::kFixedNewstyle | handshake_flag::kNoZeroes}});
  /// In reply to `NBD_OPT_GO`, before it is acknowledged.
  std::vector<Bytes> facts = {bytes_of(
      InfoExport{std::uint16_t{0}, kSize,
                 std::uint16_t{transmission_flag::kHasFlags | transmission_flag::kSendFlush}})};
  std::uint16_t magic_delta = 0;  ///< of replies to options
  /// Answers to one request each; nothing: the usual one.
  using Answer = std::function<std::optional<Bytes>(const CompactRequest&)>;
  Answer answer = [](const CompactRequest&) { return std::nullopt; };
  /// The server hangs up after so many bytes.
  std::uint64_t bytes_max = kUnlimited;
};

/// Serves one client after the other.
class Server {
 public:
  Server(const std::string& path, Manners manners) : manners_(std::move(manners)) {
    ::unlink(path.c_str());
    listening_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    const auto* const name = reinterpret_cast<const sockaddr*>(&address);
    if (::bind(listening_, name, sizeof address) != 0 || ::listen(listening_, 10) != 0) {
      throw os_error(errno, path);
    }
    thread_ = std::thread([this] { run(); });
  }
  ~Server() {
    is_over_ = true;
    ::shutdown(listening_, SHUT_RDWR);
    if (const int client = client_; client >= 0) ::shutdown(client, SHUT_RDWR);
    thread_.join();
    ::close(listening_);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::uint64_t bytes_sent() const noexcept { return sent_; }

 private:
  struct HungUp {};

  void run() {
    while (!is_over_) {
      const int client = ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) return;
      client_ = client;
      sent_ = 0;
      if (is_over_) ::shutdown(client, SHUT_RDWR);
      try {
        serve();
      } catch (const HungUp&) {
      }
      client_ = -1;
      ::close(client);
    }
  }

  void send(const Bytes& bytes) {
    const std::uint64_t count = std::min<std::uint64_t>(bytes.size(), manners_.bytes_max - sent_);
    for (std::uint64_t done = 0; done < count;) {
      const ssize_t some = ::send(client_, bytes.data() + done, count - done, MSG_NOSIGNAL);
      if (some <= 0) throw HungUp();
      done += static_cast<std::uint64_t>(some);
    }
    sent_ += count;
    if (sent_ == manners_.bytes_max) throw HungUp();
  }
  void receive(void* into, std::size_t length) {
    if (length == 0) return;  // recv(2) would wait all the same
    if (::recv(client_, into, length, MSG_WAITALL) != static_cast<ssize_t>(length)) throw HungUp();
  }
  template <typename Raw>
  Raw receive() {
    Raw raw;
    receive(&raw, sizeof raw);
    return raw;
  }

  void reply(std::uint32_t option, OptionReply type, const Bytes& data = {}) {
    send(bytes_of(OptionReplyHeader{kOptionReplyMagic + manners_.magic_delta, option,
                                    static_cast<std::uint32_t>(type),
                                    static_cast<std::uint32_t>(data.size())}) +
         data);
  }

  void serve() {
    send(manners_.greeting);
    receive<be32>();
    while (!serve_option()) {
    }
    while (true) {
      const auto request = receive<CompactRequest>();
      const auto command = static_cast<Command>(std::uint16_t{request.type});
      if (command == Command::disconnect) return;
      if (command == Command::write) {
        Bytes payload(request.length);
        receive(payload.data(), payload.size());
      }
      const std::optional<Bytes> answer = manners_.answer(request);
      send(answer ? *answer : usual(request, command));
    }
  }

  /// True once the client has what it wants.
  bool serve_option() {
    const auto header = receive<OptionHeader>();
    Bytes data(header.length);
    receive(data.data(), data.size());
    switch (static_cast<Option>(std::uint32_t{header.option})) {
      case Option::structured_reply:
        reply(header.option, OptionReply::ack);
        return false;
      case Option::set_meta_context: {
        constexpr char kName[] = "base:allocation";
        Bytes context = bytes_of(be32(kContext));
        for (const char* at = kName; *at != 0; ++at) context.push_back(static_cast<std::byte>(*at));
        reply(header.option, OptionReply::meta_context, context);
        reply(header.option, OptionReply::ack);
        return false;
      }
      case Option::go:
        for (const Bytes& fact : manners_.facts) reply(header.option, OptionReply::info, fact);
        reply(header.option, OptionReply::ack);
        return true;
      default:
        reply(header.option, static_cast<OptionReply>(0x80000001));  // unknown to this server
        return false;
    }
  }

  static Bytes usual(const CompactRequest& request, Command command) {
    switch (command) {
      case Command::read:
        return data_chunk(request.cookie, request.offset, request.length);
      case Command::block_status:
        return status_chunk(request.cookie, kContext, {{request.length, std::uint32_t{0}}});
      default:
        return chunk(request.cookie, ReplyType::none, {});
    }
  }

  const Manners manners_;
  int listening_ = -1;
  std::atomic<int> client_ = -1;
  std::atomic<bool> is_over_ = false;
  std::atomic<std::uint64_t> sent_ = 0;
  std::thread thread_;
};

class NbdHostileServer : public testing::Test {
 protected:
  std::unique_ptr<Storage> open(bool read_only = false) const {
    NbdClientOptions options;
    options.socket_path = path();
    options.read_only = read_only;
    options.connections_max = 1;
    options.name = "export";
    return open_nbd_storage(options);
  }
  std::string path() const { return directory_.file("socket"); }
  void serve(Manners manners) {
    server_.reset();
    server_ = std::make_unique<Server>(path(), std::move(manners));
  }
  /// Serves reads with this answer.
  void answer_reads(std::function<Bytes(std::uint64_t cookie)> answer) {
    Manners manners;
    manners.answer = [answer](const CompactRequest& request) -> std::optional<Bytes> {
      if (request.type != static_cast<std::uint16_t>(Command::read)) return std::nullopt;
      return answer(request.cookie);
    };
    serve(std::move(manners));
  }
  static Bytes read(Storage& storage, std::uint64_t offset, std::size_t length) {
    Bytes bytes(length, std::byte{0x11});
    storage.read(offset, bytes);
    return bytes;
  }

  const TempDir directory_;
  std::unique_ptr<Server> server_;
};

TEST_F(NbdHostileServer, WithGoodMannersIsServedAsAnyOther) {
  serve({});
  const auto storage = open();
  EXPECT_EQ(storage->size(), kSize);
  EXPECT_EQ(read(*storage, 4096, kLength), Bytes(kLength, std::byte{0x5a}));
  storage->write(0, Bytes(512));
  EXPECT_FALSE(storage->extent_at(0, kSize).is_hole);
  storage->flush();
}

TEST_F(NbdHostileServer, WrongRepliesToReadsAreErrors) {
  constexpr std::uint64_t kAt = 4096;
  constexpr std::uint32_t kHalf = kLength / 2;
  const std::vector<std::pair<const char*, std::function<Bytes(std::uint64_t)>>> replies = {
      {"magic", [](auto) { return Bytes(64, std::byte{0x99}); }},
      {"simple",
       [](auto cookie) {
         return bytes_of(SimpleReply{kSimpleReplyMagic, 0u, cookie}) + Bytes(kLength);
       }},
      {"unknown cookie", [](auto cookie) { return data_chunk(cookie + 77, kAt, kLength); }},
      {"nothing", [](auto cookie) { return chunk(cookie, ReplyType::none, {}); }},
      {"too short", [](auto cookie) { return data_chunk(cookie, kAt, kHalf); }},
      {"too long", [](auto cookie) { return data_chunk(cookie, kAt, kLength + 1); }},
      {"before", [](auto cookie) { return data_chunk(cookie, kAt - 1, kLength); }},
      {"after", [](auto cookie) { return data_chunk(cookie, kAt + 1, kLength); }},
      {"offset wraps", [](auto cookie) { return data_chunk(cookie, kUnlimited - 100, kLength); }},
      {"no bytes", [](auto cookie) { return data_chunk(cookie, kAt, 0); }},
      {"hole too long", [](auto cookie) { return hole_chunk(cookie, kAt, kLength + 1); }},
      {"hole wraps", [](auto cookie) { return hole_chunk(cookie, kUnlimited, kLength); }},
      {"empty hole", [](auto cookie) { return hole_chunk(cookie, kAt, 0); }},
      {"part twice",
       [](auto cookie) {
         return data_chunk(cookie, kAt, kHalf, 0) + data_chunk(cookie, kAt, kHalf);
       }},
      {"hole twice",
       [](auto cookie) {
         return hole_chunk(cookie, kAt, kHalf, 0) + hole_chunk(cookie, kAt, kHalf);
       }},
      {"parts overlap",
       [](auto cookie) {
         return data_chunk(cookie, kAt + 512, kLength - 512, 0) +
                data_chunk(cookie, kAt + 1024, 512);
       }},
      {"status",
       [](auto cookie) {
         return status_chunk(cookie, kContext, {{kLength, std::uint32_t{0}}});
       }},
      {"unknown type",
       [](auto cookie) { return chunk(cookie, static_cast<ReplyType>(77), Bytes(8)); }},
      {"unknown error",
       [](auto cookie) { return chunk(cookie, static_cast<ReplyType>(0x8077), Bytes(2)); }},
      {"error without a code",
       [](auto cookie) {
         return chunk(cookie, ReplyType::error, bytes_of(ErrorChunk{0u, std::uint16_t{0}}));
       }},
      {"error's message is longer",
       [](auto cookie) {
         return chunk(cookie, ReplyType::error, bytes_of(ErrorChunk{5u, std::uint16_t{60000}}));
       }},
      {"length without end",
       [](auto cookie) {
         return bytes_of(StructuredReply{kStructuredReplyMagic, kReplyFlagDone,
                                         static_cast<std::uint16_t>(ReplyType::offset_data), cookie,
                                         0xffffffffu}) +
                bytes_of(OffsetData{kAt}) + Bytes(kLength);
       }},
  };
  for (const auto& [name, reply] : replies) {
    SCOPED_TRACE(name);
    answer_reads(reply);
    const auto storage = open();
    error_of([&] { read(*storage, kAt, kLength); });
  }
}

TEST_F(NbdHostileServer, PartsInAnyOrderAreWhatWasAskedFor) {
  answer_reads([](std::uint64_t cookie) {
    return data_chunk(cookie, 6144, 2048, 0) + hole_chunk(cookie, 4096, 2048, 0) +
           data_chunk(cookie, 8192, 4096, 0) + chunk(cookie, ReplyType::none, {});
  });
  const auto storage = open();
  Bytes expected(kLength, std::byte{0x5a});
  std::fill_n(expected.begin(), 2048, std::byte{0});
  EXPECT_EQ(read(*storage, 4096, kLength), expected);
}

TEST_F(NbdHostileServer, AnswersToWhatIsNotAskedEndTheConnection) {
  Manners manners;
  manners.answer = [](const CompactRequest& request) -> std::optional<Bytes> {
    const Bytes done = chunk(request.cookie, ReplyType::none, {});
    return done + done + done;
  };
  serve(std::move(manners));
  const auto storage = open();
  try {
    storage->write(0, Bytes(512));
  } catch (const Error&) {  // where the second answer came with the first
  }
  error_of([&] { read(*storage, 0, kLength); });
  error_of([&] { read(*storage, 0, kLength); });
}

TEST_F(NbdHostileServer, WrongStatusIsDataOrAnError) {
  using Extents = std::vector<Descriptor>;
  const auto all = [](std::uint32_t length, std::uint32_t flags) {
    return Descriptor{length, flags};
  };
  const std::vector<std::pair<const char*, std::function<Bytes(std::uint64_t)>>> replies = {
      {"no extents", [](auto cookie) { return status_chunk(cookie, kContext, {}); }},
      {"empty extents",
       [&](auto cookie) { return status_chunk(cookie, kContext, Extents(100, all(0, 3))); }},
      {"another context",
       [&](auto cookie) { return status_chunk(cookie, kContext + 1, {all(kLength, 3)}); }},
      {"half an extent",
       [](auto cookie) {
         return chunk(cookie, ReplyType::block_status, bytes_of(BlockStatus{kContext}) + Bytes(12));
       }},
      {"no context", [](auto cookie) { return chunk(cookie, ReplyType::block_status, Bytes(2)); }},
      {"nothing", [](auto cookie) { return chunk(cookie, ReplyType::none, {}); }},
      {"data", [](auto cookie) { return data_chunk(cookie, 0, kLength); }},
  };
  for (const auto& one : replies) {
    const auto& reply = one.second;
    SCOPED_TRACE(one.first);
    Manners manners;
    manners.answer = [&reply](const CompactRequest& request) -> std::optional<Bytes> {
      return reply(request.cookie);
    };
    serve(std::move(manners));
    const auto storage = open();
    try {
      EXPECT_FALSE(storage->extent_at(0, kSize).is_hole);
    } catch (const Error&) {
    }
  }
}

TEST_F(NbdHostileServer, StatusOfMoreThanWasAskedForIsCutToIt) {
  Manners manners;
  manners.answer = [](const CompactRequest& request) -> std::optional<Bytes> {
    return status_chunk(request.cookie, kContext, {{0xfffffe00u, 3u}, {0xfffffe00u, 0u}});
  };
  serve(std::move(manners));
  const auto storage = open();
  const StorageExtent extent = storage->extent_at(4096, kSize);
  EXPECT_TRUE(extent.is_hole);
  EXPECT_LE(extent.length_bytes, kSize);
}

TEST_F(NbdHostileServer, StatusOfAMillionExtentsIsKeptInPart) {
  Manners manners;
  manners.answer = [](const CompactRequest& request) -> std::optional<Bytes> {
    constexpr std::uint32_t kCount = 1 << 20;
    Bytes payload(sizeof(BlockStatus) + kCount * sizeof(Descriptor));
    const BlockStatus header{kContext};
    std::memcpy(payload.data(), &header, sizeof header);
    for (std::uint32_t i = 0; i < kCount; ++i) {
      const Descriptor extent{64u, i % 2 == 0 ? 3u : 0u};
      std::memcpy(payload.data() + sizeof header + i * sizeof extent, &extent, sizeof extent);
    }
    return chunk(request.cookie, ReplyType::block_status, payload);
  };
  serve(std::move(manners));
  const auto storage = open();
  EXPECT_EQ(storage->extent_at(0, kSize).length_bytes, 64u);
  EXPECT_TRUE(storage->extent_at(0, kSize).is_hole);
  EXPECT_FALSE(storage->extent_at(64, kSize).is_hole);
}

TEST_F(NbdHostileServer, GarbageInTheHandshakeIsAnError) {
  const auto export_of = [](std::uint64_t size) {
    return bytes_of(InfoExport{std::uint16_t{0}, size, transmission_flag::kHasFlags});
  };
  std::vector<std::pair<const char*, Manners>> all(7);
  all[0] = {"greeting", {.greeting = Bytes(18, std::byte{0x55})}};
  all[1] = {
      "old style",
      {.greeting = bytes_of(be64(kInitPassword)) + bytes_of(be64(0x00420281861253)) + Bytes(136)}};
  all[2] = {"magic of replies", {.magic_delta = 1}};
  all[3] = {"no size", {.facts = {}}};
  all[4] = {"half a size", {.facts = {Bytes(5)}}};
  all[5] = {"too large", {.facts = {export_of(kUnlimited)}}};
  all[6] = {"fact without a type", {.facts = {Bytes(1)}}};
  for (const auto& [name, manners] : all) {
    SCOPED_TRACE(name);
    serve(manners);
    error_of([&] { open(true); });
  }
}

TEST_F(NbdHostileServer, BlocksTooLargeToBeHeldAreNotKeptTo) {
  const Bytes blocks = bytes_of(be16(3)) + bytes_of(be32(1u << 31)) + bytes_of(be32(1u << 31)) +
                       bytes_of(be32(1u << 31));
  Manners manners;
  manners.facts.push_back(blocks);
  serve(std::move(manners));
  EXPECT_LE(open()->alignment(), 64u << 10);
}

TEST_F(NbdHostileServer, ThatHangsUpAfterAnyByteIsAnErrorOrWasNeededNoMore) {
  const auto use = [this] {
    const auto storage = open();
    EXPECT_EQ(read(*storage, 0, 100), Bytes(100, std::byte{0x5a}));
    storage->extent_at(0, 100);
    storage->write(0, Bytes(100));
    storage->flush();
  };
  serve({});
  use();
  const std::uint64_t all = server_->bytes_sent();
  ASSERT_GT(all, 200u);
  for (std::uint64_t count = 0; count < all; ++count) {
    SCOPED_TRACE(count);
    serve({.bytes_max = count});
    error_of(use);
  }
}

}  // namespace
}  // namespace qcowkit::test
