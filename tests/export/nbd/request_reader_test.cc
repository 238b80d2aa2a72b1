#include "export/nbd/request_reader.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <deque>
#include <map>
#include <random>
#include <string>

#include "tests/export/nbd/wire_bytes.h"
#include "tests/support/errors.h"
#include "tests/support/seeds.h"

namespace qcowkit::nbd::test {
namespace {

using qcowkit::test::error_of;

/// Gives what it was given, in pieces no larger than those.
class ScriptedTransport final : public NbdTransport {
 public:
  void piece(Bytes bytes) { pieces_.push_back(std::move(bytes)); }
  /// Nothing comes for a while.
  void silence() { pieces_.emplace_back(); }

  std::optional<std::size_t> receive(std::span<std::byte> into) override {
    if (into.empty()) throw std::logic_error("no room to receive");
    if (pieces_.empty()) return 0;
    Bytes& next = pieces_.front();
    if (next.empty()) {
      pieces_.pop_front();
      return std::nullopt;
    }
    const std::size_t count = std::min(into.size(), next.size());
    std::copy_n(next.begin(), count, into.begin());
    next.erase(next.begin(), next.begin() + static_cast<std::ptrdiff_t>(count));
    if (next.empty()) pieces_.pop_front();
    return count;
  }
  void wait() override { ++waits; }
  void send(std::span<const iovec>) override {}
  void shut_down(Direction) noexcept override {}

  int waits = 0;

 private:
  std::deque<Bytes> pieces_;
};

class Reader : public testing::Test {
 protected:
  explicit Reader(Style style = Style::structured)
      : reader_(transport_, {style, std::uint64_t{1} << 30, false, 1}, budget_, draining_,
                no_pieces) {}

  std::vector<Incoming> read() {
    std::vector<Incoming> requests;
    reader_.read(requests, spare_);
    return requests;
  }
  static Bytes write_of(std::uint32_t length, std::uint64_t cookie) {
    Bytes bytes = compact(Command::write, 0, length, 0, cookie);
    for (std::uint32_t i = 0; i < length; ++i) bytes.push_back(static_cast<std::byte>(i + cookie));
    return bytes;
  }
  static bool holds_write(const Incoming& incoming) {
    if (incoming.payload.size() != incoming.request.length_bytes) return false;
    for (std::size_t i = 0; i < incoming.payload.size(); ++i) {
      if (incoming.payload[i] != static_cast<std::byte>(i + incoming.request.cookie)) return false;
    }
    return true;
  }

  ScriptedTransport transport_;
  static WireError no_pieces(const Request& /*request*/, std::uint64_t /*at*/,
                             std::span<const std::byte> /*bytes*/) {
    ADD_FAILURE() << "there is memory for the whole";
    return WireError::none;
  }

  MemoryPool pool_;
  MemoryBudget budget_{pool_};
  std::atomic<bool> draining_{false};
  Buffer spare_{1};
  RequestReader reader_;
};

TEST_F(Reader, GivesAllThatCameAtOnce) {
  Bytes bytes;
  for (std::uint64_t cookie = 0; cookie < 5; ++cookie) {
    const Bytes one =
        cookie % 2 == 0 ? compact(Command::read, 0, 1, 0, cookie) : write_of(9, cookie);
    bytes.insert(bytes.end(), one.begin(), one.end());
  }
  transport_.piece(bytes);
  const auto requests = read();
  ASSERT_EQ(requests.size(), 5u);
  for (std::uint64_t cookie = 0; cookie < 5; ++cookie) {
    EXPECT_EQ(requests[cookie].request.cookie, cookie);
    EXPECT_EQ(requests[cookie].refusal, WireError::none);
  }
  EXPECT_TRUE(holds_write(requests[3]));
  EXPECT_TRUE(read().empty());
  EXPECT_TRUE(reader_.is_at_end());
}

TEST_F(Reader, PutsTogetherWhatComesByteByByte) {
  for (const std::byte byte : write_of(100, 3)) transport_.piece({byte});
  const auto requests = read();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_TRUE(holds_write(requests[0]));
}

TEST_F(Reader, PayloadsStayWhileLaterRequestsAreRead) {
  std::vector<Incoming> kept;
  for (std::uint64_t cookie = 0; cookie < 200; ++cookie) {
    transport_.piece(write_of(static_cast<std::uint32_t>(1 + cookie * 397 % 60'000), cookie));
    auto requests = read();
    ASSERT_EQ(requests.size(), 1u);
    kept.push_back(std::move(requests[0]));
  }
  for (const Incoming& incoming : kept) EXPECT_TRUE(holds_write(incoming));
}

TEST_F(Reader, LargePayloadsUseTheSameMemoryAgain) {
  const std::byte* first = nullptr;
  for (std::uint64_t cookie = 0; cookie < 3; ++cookie) {
    transport_.piece(write_of(1 << 20, cookie));
    const auto requests = read();
    ASSERT_EQ(requests.size(), 1u);
    EXPECT_TRUE(holds_write(requests[0]));
    if (first == nullptr) first = requests[0].payload.data();
    EXPECT_EQ(requests[0].payload.data(), first);
  }
}

TEST_F(Reader, SkipsThePayloadOfWhatIsRefused) {
  for (const std::uint32_t length : {10u, 100'000u}) {
    Bytes bytes = compact(Command::write, std::uint64_t{1} << 30, length);
    bytes.resize(bytes.size() + length);
    const Bytes next = compact(Command::flush, 0, 0, 0, 99);
    bytes.insert(bytes.end(), next.begin(), next.end());
    transport_.piece(bytes);
    std::vector<Incoming> requests = read();
    ASSERT_GE(requests.size(), 1u);
    EXPECT_EQ(requests[0].refusal, WireError::nospc);
    EXPECT_TRUE(requests[0].payload.empty());
    if (requests.size() == 1) requests = read();
    EXPECT_EQ(requests.back().request.cookie, 99u);
  }
}

TEST_F(Reader, EndsAtDisconnect) {
  Bytes bytes = compact(Command::read, 0, 1);
  const Bytes end = compact(Command::disconnect, 0, 0);
  bytes.insert(bytes.end(), end.begin(), end.end());
  append_text(bytes, "what comes behind is not looked at");
  transport_.piece(bytes);
  EXPECT_EQ(read().size(), 1u);
  EXPECT_TRUE(reader_.is_at_end());
}

TEST_F(Reader, GarbageEndsItBehindWhatWasGood) {
  Bytes bytes = compact(Command::read, 0, 1);
  append_text(bytes, "this is no request at all, and longer than a header");
  transport_.piece(bytes);
  EXPECT_EQ(read().size(), 1u);
  EXPECT_FALSE(reader_.is_at_end());
  EXPECT_EQ(error_of([&] { read(); }).code(), Errc::invalid_argument);
  EXPECT_TRUE(reader_.is_at_end());
  EXPECT_TRUE(read().empty());
}

TEST_F(Reader, EndAmidARequestIsAnError) {
  for (const std::size_t length : {5u, 40u}) {
    Bytes bytes = write_of(100, 1);
    bytes.resize(length);
    ScriptedTransport transport;
    transport.piece(bytes);
    RequestReader reader(transport, {Style::structured, 1 << 20, false, 1}, budget_, draining_,
                         no_pieces);
    std::vector<Incoming> requests;
    EXPECT_EQ(error_of([&] { reader.read(requests, spare_); }).code(), Errc::invalid_argument);
  }
}

TEST_F(Reader, GivesMemoryBackWhenNothingComes) {
  transport_.piece(write_of(1 << 20, 1));
  ASSERT_EQ(read().size(), 1u);
  transport_.silence();
  transport_.piece(compact(Command::read, 0, 1));
  EXPECT_EQ(read().size(), 1u);
  EXPECT_EQ(transport_.waits, 1);
  EXPECT_EQ(spare_.size(), 0u);
}

TEST_F(Reader, SilenceAmidARequestIsWaitedOut) {
  Bytes bytes = write_of(100, 4);
  transport_.piece(Bytes(bytes.begin(), bytes.begin() + 50));
  transport_.silence();
  transport_.piece(Bytes(bytes.begin() + 50, bytes.end()));
  const auto requests = read();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_TRUE(holds_write(requests[0]));
}

TEST_F(Reader, WhileDrainingReadsWhatHasArrivedOnly) {
  draining_ = true;
  transport_.piece(compact(Command::read, 0, 1));
  transport_.piece(compact(Command::read, 0, 1));
  EXPECT_EQ(read().size(), 1u);
  EXPECT_TRUE(read().empty());
  EXPECT_TRUE(reader_.is_at_end());
}

/// However the bytes are cut, the same requests come out.
TEST_F(Reader, RandomPiecesMakeTheSameRequests) {
  qcowkit::test::for_each_seed(
      60,
      [](std::uint64_t seed) {
        SCOPED_TRACE("QCOWKIT_SEED=" + std::to_string(seed));
        std::mt19937_64 random(seed);
        ScriptedTransport transport;
        Bytes bytes;
        constexpr std::uint64_t kCount = 150;
        for (std::uint64_t cookie = 0; cookie < kCount; ++cookie) {
          const auto length = static_cast<std::uint32_t>(random() >> (random() % 15 + 47));
          const Bytes one = random() % 2 == 0 ? write_of(length, cookie)
                                              : compact(Command::read, 0, length, 0, cookie);
          bytes.insert(bytes.end(), one.begin(), one.end());
        }
        for (std::size_t at = 0; at < bytes.size();) {
          const std::size_t length =
              std::min<std::size_t>(1 + (random() >> (random() % 20 + 44)), bytes.size() - at);
          transport.piece(Bytes(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                                bytes.begin() + static_cast<std::ptrdiff_t>(at + length)));
          at += length;
        }
        MemoryPool pool(random() % 2 == 0 ? MemoryPool::kBytesDefault : 100'000);
        MemoryBudget budget(pool);
        std::map<std::uint64_t, Bytes> written;  // the payloads that there was no memory for
        const std::atomic<bool> draining{false};
        Buffer spare;
        RequestReader reader(transport, {Style::structured, 1 << 30, false, 1}, budget, draining,
                             [&](const Request& request, std::uint64_t at, auto piece) {
                               Bytes& payload = written[request.cookie];
                               EXPECT_EQ(payload.size(), at);
                               payload.insert(payload.end(), piece.begin(), piece.end());
                               return WireError::none;
                             });
        std::uint64_t next = 0;
        std::deque<Incoming> in_use;  // some payloads are held for a while
        while (!reader.is_at_end()) {
          std::vector<Incoming> requests;
          reader.read(requests, spare);
          for (Incoming& incoming : requests) {
            EXPECT_EQ(incoming.request.cookie, next++);
            EXPECT_EQ(incoming.refusal, WireError::none);
            const auto pieces = written.find(incoming.request.cookie);
            if (pieces != written.end()) {
              EXPECT_TRUE(incoming.payload.empty());
              incoming.payload = pieces->second;
            }
            in_use.push_back(std::move(incoming));
          }
          while (in_use.size() > random() % 20) {
            if (in_use.front().request.command == Command::write) {
              EXPECT_TRUE(holds_write(in_use.front()));
            }
            in_use.pop_front();
          }
        }
        EXPECT_EQ(next, kCount);
      },
      [] { return HasFailure(); });
}

}  // namespace
}  // namespace qcowkit::nbd::test
