// TLS between two threads.
#include "base/tls_session.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <future>
#include <random>
#include <vector>

#include "base/tls_credentials.h"
#include "qcowkit/error.h"
#include "tests/support/errors.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::test {
namespace {

using Bytes = std::vector<std::byte>;
using Options = TlsCredentialOptions;

/// One end of a pair of sockets, which counts how often it is asked.
class PairedWire final : public TlsWire {
 public:
  explicit PairedWire(int fd) : fd_(fd) {}
  ~PairedWire() override { ::close(fd_); }
  std::optional<std::size_t> receive(std::span<std::byte> into) override {
    ++receives_;
    const ssize_t count = ::recv(fd_, into.data(), into.size(), 0);
    if (count < 0) throw os_error(errno, "recv");
    return static_cast<std::size_t>(count);
  }
  void send(std::span<const std::byte> from) override {
    ++sends_;
    while (!from.empty()) {
      const ssize_t count = ::send(fd_, from.data(), from.size(), MSG_NOSIGNAL);
      if (count < 0) throw os_error(errno, "send");
      from = from.subspan(static_cast<std::size_t>(count));
    }
  }
  void hang_up() const { ::shutdown(fd_, SHUT_RDWR); }
  int sends() const { return sends_; }

 private:
  const int fd_;
  int receives_ = 0;
  int sends_ = 0;
};

class TlsSessionPair : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends_), 0);
    client_wire_ = std::make_unique<PairedWire>(ends_[0]);
    server_wire_ = std::make_unique<PairedWire>(ends_[1]);
    server_options_.side = TlsSide::server;
    client_options_.kind = server_options_.kind = Options::Kind::anonymous;
  }
  void use_keys(const std::string& of_server, const std::string& of_client) {
    std::ofstream(directory_.file("server")) << of_server;
    std::ofstream(directory_.file("client")) << of_client;
    client_options_.kind = server_options_.kind = Options::Kind::preshared_keys;
    server_options_.psk_file = directory_.file("server");
    client_options_.psk_file = directory_.file("client");
  }

  /// Both sides shake hands; throws what the client meets.
  void connect() {
    server_credentials_ = TlsCredentials::load(server_options_);
    client_credentials_ = TlsCredentials::load(client_options_);
    server_ = std::make_unique<TlsSession>(TlsSide::server, *server_wire_,
                                           server_credentials_->priority());
    client_ = std::make_unique<TlsSession>(TlsSide::client, *client_wire_,
                                           client_credentials_->priority());
    server_credentials_->equip(server_->handle());
    client_credentials_->equip(client_->handle());
    auto serving = std::async(std::launch::async, [&] {
      try {
        server_->shake_hands();
      } catch (const Error&) {
        server_wire_->hang_up();
        throw;
      }
    });
    try {
      client_->shake_hands();
    } catch (const Error&) {
      client_wire_->hang_up();
      throw;
    }
    serving.get();
  }

  Bytes receive(TlsSession& session, std::size_t count) {
    Bytes bytes(count);
    for (std::size_t filled = 0; filled < count;) {
      const auto got = session.receive(std::span(bytes).subspan(filled));
      if (!got) continue;
      if (*got == 0) throw os_error(ECONNRESET, "ended early");
      filled += *got;
    }
    return bytes;
  }

  const TempDir directory_;
  int ends_[2] = {-1, -1};
  std::unique_ptr<PairedWire> client_wire_;
  std::unique_ptr<PairedWire> server_wire_;
  Options client_options_;
  Options server_options_;
  std::unique_ptr<TlsCredentials> client_credentials_;
  std::unique_ptr<TlsCredentials> server_credentials_;
  std::unique_ptr<TlsSession> client_;
  std::unique_ptr<TlsSession> server_;
};

Bytes random_bytes(std::size_t count) {
  std::mt19937 random(static_cast<unsigned>(count));
  Bytes bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

TEST_F(TlsSessionPair, PiecesOfAnySizeArriveInBothDirectionsAtOnce) {
  connect();
  const auto exchange = [&](TlsSession& from, TlsSession& to) {
    return std::async(std::launch::async, [&] {
      bool is_good = true;
      for (const std::size_t size : {1u, 28u, 16383u, 16384u, 16385u, 100'000u, 1u << 20}) {
        const Bytes bytes = random_bytes(size);
        const std::size_t first = size / 3;
        auto sending = std::async(std::launch::async, [&] {
          const iovec pieces[] = {{const_cast<std::byte*>(bytes.data()), first},
                                  {nullptr, 0},
                                  {const_cast<std::byte*>(bytes.data()) + first, size - first}};
          from.send(pieces);
        });
        is_good = receive(to, size) == bytes && is_good;
        sending.get();
      }
      return is_good;
    });
  };
  auto upwards = exchange(*client_, *server_);
  auto downwards = exchange(*server_, *client_);
  EXPECT_TRUE(upwards.get());
  EXPECT_TRUE(downwards.get());
}

TEST_F(TlsSessionPair, ManyPiecesAreSentAtOnceAndReceivedAtOnce) {
  connect();
  Bytes bytes = random_bytes(32 * 28);
  std::vector<iovec> pieces;
  for (std::size_t at = 0; at < bytes.size(); at += 28) pieces.push_back({bytes.data() + at, 28});
  const int before = client_wire_->sends();
  client_->send(pieces);
  EXPECT_EQ(client_wire_->sends(), before + 1);
  client_->send({pieces.data(), 1});
  // Two records, and both are there after one call.
  Bytes received(2 * bytes.size());
  EXPECT_EQ(server_->receive(received), bytes.size() + 28);
}

TEST_F(TlsSessionPair, WhatIsLeftIsTold) {
  connect();
  Bytes bytes = random_bytes(100);
  const iovec piece{bytes.data(), bytes.size()};
  EXPECT_FALSE(server_->has_received());
  client_->send({&piece, 1});
  EXPECT_EQ(receive(*server_, 60), Bytes(bytes.begin(), bytes.begin() + 60));
  EXPECT_TRUE(server_->has_received());
  EXPECT_EQ(receive(*server_, 40), Bytes(bytes.begin() + 60, bytes.end()));
  EXPECT_FALSE(server_->has_received());
}

TEST_F(TlsSessionPair, TheEndIsSeenWithAndWithoutAGoodbye) {
  connect();
  Bytes bytes(10);
  client_->say_goodbye();
  EXPECT_EQ(server_->receive(bytes), 0u);
  EXPECT_EQ(server_->receive(bytes), 0u);
  server_wire_->hang_up();
  EXPECT_EQ(client_->receive(bytes), 0u);
}

TEST_F(TlsSessionPair, GarbageIsAnError) {
  connect();
  Bytes bytes(100, std::byte{0x55});
  client_wire_->send(bytes);
  EXPECT_THROW(server_->receive(bytes), Error);
}

TEST_F(TlsSessionPair, KeysOfTheSameNameHaveToBeTheSame) {
  use_keys("bob:00112233\nalice:0123456789abcdef\n", "alice:0123456789abcdef\n");
  client_options_.username = "alice";
  connect();
  EXPECT_EQ(server_credentials_->identify_client(server_->handle()), "alice");
}

TEST_F(TlsSessionPair, ClientsWithoutANameShowTheirFirstKey) {
  use_keys("bob:00112233\nalice:0123456789abcdef\n", "bob:00112233\nalice:0123456789abcdef\n");
  connect();
  EXPECT_EQ(server_credentials_->identify_client(server_->handle()), "bob");
}

TEST_F(TlsSessionPair, WrongKeysAreRefused) {
  use_keys("alice:0123456789abcdef\n", "alice:1123456789abcdef\n");
  client_options_.username = "alice";
  EXPECT_THROW(connect(), Error);
}

TEST_F(TlsSessionPair, CredentialsOfAnotherKindAreRefused) {
  use_keys("alice:0123456789abcdef\n", "alice:0123456789abcdef\n");
  client_options_.kind = Options::Kind::anonymous;
  EXPECT_THROW(connect(), Error);
}

TEST_F(TlsSessionPair, WhatCannotBeLoadedIsToldOf) {
  use_keys("alice:00\n", "alice:00\n");
  client_options_.username = "carol";
  EXPECT_STREQ(error_of([&] { TlsCredentials::load(client_options_); }).what(),
               ("Username carol not found in PSK file " + client_options_.psk_file).c_str());
  Options certificates;
  certificates.directory = directory_.file("none");
  EXPECT_EQ(error_of([&] { TlsCredentials::load(certificates); }).code(),
            std::errc::no_such_file_or_directory);
  Options anonymous;
  anonymous.side = TlsSide::server;
  anonymous.kind = Options::Kind::anonymous;
  anonymous.directory = directory_.file("none");
  EXPECT_NO_THROW(TlsCredentials::load(anonymous));
  std::filesystem::create_directory(anonymous.directory);
  std::ofstream(anonymous.directory + "/dh-params.pem") << "nonsense";
  EXPECT_THROW(TlsCredentials::load(anonymous), Error);
}

TEST_F(TlsSessionPair, PrioritiesThatMakeNoSenseAreRefused) {
  client_options_.priority = "FOO";
  const Error error = error_of([&] { connect(); });
  EXPECT_STREQ(error.what(),
               "Unable to set TLS session priority FOO:+ANON-DH: The request is invalid.");
}

}  // namespace
}  // namespace qcowkit::test
