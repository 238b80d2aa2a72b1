// A connection to an NBD server that is encrypted on its way.
#include "storage/nbd_tls_relay.h"

#include <fmt/core.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <future>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/endian.h"
#include "base/nbd_wire.h"
#include "base/tls_credentials.h"
#include "base/tls_session.h"
#include "qcowkit/error.h"
#include "storage/nbd_address.h"

namespace qcowkit {

namespace {

constexpr std::size_t kPassedOnBytes = 256 << 10;
/// How long what has been sent last may take to reach the server when the connection ends.
constexpr auto kFarewell = std::chrono::seconds(2);

class Socket {
 public:
  explicit Socket(int fd = -1) noexcept : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  int release() noexcept { return std::exchange(fd_, -1); }
  void shut_down() const noexcept { ::shutdown(fd_, SHUT_RDWR); }

  /// Returns 0 at the end.
  std::size_t receive(std::span<std::byte> into) const {
    for (;;) {
      const ssize_t count = ::recv(fd_, into.data(), into.size(), 0);
      if (count >= 0) return static_cast<std::size_t>(count);
      if (errno != EINTR) throw os_error(errno, "Unable to read from socket");
    }
  }
  void send(std::span<const std::byte> from) const {
    while (!from.empty()) {
      const ssize_t count = ::send(fd_, from.data(), from.size(), MSG_NOSIGNAL);
      if (count >= 0) {
        from = from.subspan(static_cast<std::size_t>(count));
      } else if (errno != EINTR) {
        throw os_error(errno, "Unable to write to socket");
      }
    }
  }

  template <typename Struct>
  void receive_whole(Struct& into) const {
    receive_all(std::as_writable_bytes(std::span{&into, 1}));
  }
  template <typename Struct>
  void send_whole(const Struct& from) const {
    send(std::as_bytes(std::span{&from, 1}));
  }
  void receive_all(std::span<std::byte> into) const {
    while (!into.empty()) {
      const std::size_t count = receive(into);
      if (count == 0) throw os_error(ECONNRESET, "the server has ended the connection");
      into = into.subspan(count);
    }
  }

 private:
  int fd_;
};

class SocketWire final : public TlsWire {
 public:
  explicit SocketWire(const Socket& socket) noexcept : socket_(socket) {}
  std::optional<std::size_t> receive(std::span<std::byte> into) override {
    return socket_.receive(into);
  }
  void send(std::span<const std::byte> from) override { socket_.send(from); }

 private:
  const Socket& socket_;
};

TlsCredentialOptions credential_options(const NbdClientTls& tls) {
  TlsCredentialOptions options;
  options.side = TlsSide::client;
  if (tls.is_anonymous) {
    options.kind = TlsCredentialOptions::Kind::anonymous;
  } else if (!tls.psk_file.empty()) {
    options.kind = TlsCredentialOptions::Kind::preshared_keys;
  }
  options.directory = tls.certificates_directory;
  options.psk_file = tls.psk_file;
  options.username = tls.username;
  options.key_password = tls.key_password;
  options.verify_peer = tls.verify_peer;
  options.priority = tls.priority;
  return options;
}

/// Whom the server claims to be. A socket's path is nobody's name.
std::optional<std::string> hostname_of(const NbdClientOptions& options) {
  if (options.tls_hostname) return options.tls_hostname;
  if (!options.socket_path.empty()) return std::nullopt;
  return options.host;
}

class Relay final : public NbdTlsRelay {
 public:
  explicit Relay(const NbdClientOptions& options)
      : credentials_(TlsCredentials::load(credential_options(*options.tls))),
        server_(connect_to_address(options)),
        wire_(server_),
        session_(TlsSide::client, wire_, credentials_->priority()) {
    const std::uint16_t flags = agree_on_tls();
    shake_hands(hostname_of(options));
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
      throw os_error(errno, "socketpair");
    }
    ours_ = Socket(ends[0]);
    theirs_ = Socket(ends[1]);
    ours_.send_whole(nbd::ServerGreeting{nbd::kInitPassword, nbd::kOptionMagic, flags});
    try {
      sending_ = std::async(std::launch::async, [this] { pass_on_requests(); });
      receiving_ = std::async(std::launch::async, [this] { pass_on_replies(); });
    } catch (...) {
      ours_.shut_down();
      throw;
    }
  }

  ~Relay() override {
    theirs_ = Socket();  // if nobody has taken it
    if (sending_.valid()) sending_.wait_for(kFarewell);
    server_.shut_down();
    ours_.shut_down();
  }

  int take_socket() override { return theirs_.release(); }

 private:
  std::uint16_t agree_on_tls();
  void shake_hands(const std::optional<std::string>& hostname);
  void pass_on_requests() noexcept;
  void pass_on_replies() noexcept;

  const std::unique_ptr<TlsCredentials> credentials_;
  const Socket server_;
  SocketWire wire_;
  TlsSession session_;
  Socket ours_;
  Socket theirs_;
  // Waited for before anything above goes.
  std::future<void> sending_;
  std::future<void> receiving_;
};

/// Returns the flags that both sides agree on.
std::uint16_t Relay::agree_on_tls() {
  using nbd::handshake_flag::kFixedNewstyle;
  using nbd::handshake_flag::kNoZeroes;
  nbd::ServerGreeting greeting;
  server_.receive_whole(greeting);
  if (greeting.init_password != nbd::kInitPassword) {
    throw Error(std::make_error_code(std::errc::protocol_error), "Bad initial magic received");
  }
  if (greeting.option_magic != nbd::kOptionMagic ||
      (greeting.handshake_flags & kFixedNewstyle) == 0) {
    throw Error(Errc::unsupported, "Server does not support STARTTLS");
  }
  const std::uint16_t flags = greeting.handshake_flags & (kFixedNewstyle | kNoZeroes);
  constexpr auto kStartTls = static_cast<std::uint32_t>(nbd::Option::starttls);
  server_.send_whole(be32(flags));
  server_.send_whole(nbd::OptionHeader{nbd::kOptionMagic, kStartTls, 0});

  nbd::OptionReplyHeader reply;
  server_.receive_whole(reply);
  const bool is_reply = reply.magic == nbd::kOptionReplyMagic && reply.option == kStartTls &&
                        reply.length <= nbd::kStringBytesMax;
  if (!is_reply) {
    throw Error(std::make_error_code(std::errc::protocol_error), "Unexpected option reply");
  }
  std::string text(reply.length, '\0');
  server_.receive_all(std::as_writable_bytes(std::span{text}));
  if (reply.type == static_cast<std::uint32_t>(nbd::OptionReply::ack)) return flags;
  throw Error(Errc::unsupported, fmt::format("Denied by server for option 5 (starttls){}{}",
                                             text.empty() ? "" : "\nserver reported: ", text));
}

void Relay::shake_hands(const std::optional<std::string>& hostname) {
  credentials_->equip(session_.handle());
  if (hostname) session_.ask_for(*hostname);
  session_.shake_hands();
  credentials_->verify_server(session_.handle(), hostname);
}

void Relay::pass_on_requests() noexcept {
  try {
    // libnbd answers the greeting first; the server has that answer.
    be32 flags;
    ours_.receive_whole(flags);
    std::vector<std::byte> buffer(kPassedOnBytes);
    while (const std::size_t count = ours_.receive(buffer)) {
      const iovec bytes{buffer.data(), count};
      session_.send({&bytes, 1});
    }
    session_.say_goodbye();
  } catch (...) {
    // libnbd sees the connection's end, and asks for nothing more.
    ours_.shut_down();
  }
}

void Relay::pass_on_replies() noexcept {
  try {
    std::vector<std::byte> buffer(kPassedOnBytes);
    for (;;) {
      const std::optional<std::size_t> count = session_.receive(buffer);
      if (!count) continue;
      if (*count == 0) break;
      ours_.send({buffer.data(), *count});
    }
  } catch (...) {
    // What is wrong with the connection is its end to libnbd.
  }
  ours_.shut_down();
}

}  // namespace

std::unique_ptr<NbdTlsRelay> connect_with_tls(const NbdClientOptions& options) {
  return std::make_unique<Relay>(options);
}

}  // namespace qcowkit
