#include "export/nbd/socket_transport.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace qcowkit::nbd {

namespace {

/// What the kernel takes of replies before `send` waits for the client: a large read in one go.
constexpr int kSendBufferBytes = 1 << 20;
constexpr std::size_t kBuffersInCallMax = 64;

template <typename T>
void set_option(int descriptor, int level, int name, const T& value) noexcept {
  // What cannot be set here (TCP's options on a Unix socket) makes things no worse than slower.
  static_cast<void>(::setsockopt(descriptor, level, name, &value, sizeof value));
}

void set_timeout(int descriptor, int name, std::uint32_t seconds) noexcept {
  set_option(descriptor, SOL_SOCKET, name, timeval{.tv_sec = seconds, .tv_usec = 0});
}

/// AF_UNSPEC if that cannot be known.
int family_of(int descriptor) noexcept {
  int family = AF_UNSPEC;
  socklen_t length = sizeof family;
  return ::getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &family, &length) == 0 ? family
                                                                                : AF_UNSPEC;
}

/// False if it may as well be the file that sendfile(2) has failed for.
bool is_of_the_socket(int error) noexcept {
  switch (error) {
    case EINTR:
    case EAGAIN:
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
      return true;
    default:
      return false;
  }
}

[[noreturn]] void fail_to_send(int error) {
  const bool is_late = error == EAGAIN || error == EWOULDBLOCK;
  throw os_error(is_late ? ETIMEDOUT : error, "send");
}

/// Buffers that are sent bit by bit.
class Unsent {
 public:
  explicit Unsent(std::span<const iovec> buffers) noexcept : rest_(buffers) {}

  /// The next ones for a system call; none if all are sent.
  std::span<iovec> next() noexcept {
    const std::size_t count = std::min(rest_.size(), window_.size());
    std::copy_n(rest_.begin(), count, window_.begin());
    if (count > 0) {
      window_[0].iov_base = static_cast<char*>(window_[0].iov_base) + sent_of_first_;
      window_[0].iov_len -= sent_of_first_;
    }
    return std::span(window_).first(count);
  }

  void sent(std::size_t bytes) noexcept {
    bytes += sent_of_first_;
    while (!rest_.empty() && bytes >= rest_.front().iov_len) {
      bytes -= rest_.front().iov_len;
      rest_ = rest_.subspan(1);
    }
    sent_of_first_ = bytes;
  }

 private:
  std::span<const iovec> rest_;
  std::size_t sent_of_first_ = 0;
  std::array<iovec, kBuffersInCallMax> window_;
};

}  // namespace

SocketTransport::SocketTransport(NbdSocket socket, std::uint32_t send_seconds)
    : socket_(std::move(socket)), sends_files_(family_of(socket_.descriptor()) == AF_UNIX) {
  const int descriptor = socket_.descriptor();
  set_option(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(descriptor, SOL_SOCKET, SO_SNDBUF, kSendBufferBytes);
  set_timeout(descriptor, SO_RCVTIMEO, kIdleSeconds);
  set_timeout(descriptor, SO_SNDTIMEO, send_seconds);
}

std::optional<std::size_t> SocketTransport::receive(std::span<std::byte> into) {
  while (true) {
    const ssize_t count = ::recv(socket_.descriptor(), into.data(), into.size(), 0);
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::nullopt;
    if (errno != EINTR) throw os_error(errno, "receive");
  }
}

bool SocketTransport::has_bytes() noexcept {
  int count = 0;
  return ::ioctl(socket_.descriptor(), FIONREAD, &count) == 0 && count > 0;
}

void SocketTransport::wait() {
  pollfd waiting{.fd = socket_.descriptor(), .events = POLLIN, .revents = 0};
  while (::poll(&waiting, 1, -1) < 0) {
    if (errno != EINTR) throw os_error(errno, "poll");
  }
}

void SocketTransport::send(std::span<const iovec> from) {
  Unsent unsent(from);
  for (auto buffers = unsent.next(); !buffers.empty(); buffers = unsent.next()) {
    msghdr message{};
    message.msg_iov = buffers.data();
    message.msg_iovlen = buffers.size();
    const ssize_t count = ::sendmsg(socket_.descriptor(), &message, MSG_NOSIGNAL);
    if (count >= 0) {
      unsent.sent(static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      fail_to_send(errno);
    }
  }
}

std::uint64_t SocketTransport::send_file(int descriptor, std::uint64_t offset,
                                         std::uint64_t length_bytes) {
  auto next = static_cast<off_t>(offset);
  std::uint64_t left = length_bytes;
  while (left > 0) {
    const ssize_t count = ::sendfile(socket_.descriptor(), descriptor, &next, left);
    if (count > 0) {
      left -= static_cast<std::uint64_t>(count);
    } else if (count == 0 || !is_of_the_socket(errno)) {
      break;
    } else if (errno != EINTR) {
      fail_to_send(errno);
    }
  }
  return length_bytes - left;
}

void SocketTransport::shut_down(Direction direction) noexcept {
  ::shutdown(socket_.descriptor(), direction == Direction::both ? SHUT_RDWR : SHUT_RD);
}

std::string peer_address(int descriptor) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  auto* const address = reinterpret_cast<sockaddr*>(&storage);
  if (::getpeername(descriptor, address, &length) != 0) return {};
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (storage.ss_family == AF_INET) {
    const auto* const v4 = reinterpret_cast<const sockaddr_in*>(&storage);
    ::inet_ntop(AF_INET, &v4->sin_addr, text.data(), text.size());
    return fmt::format("{}:{}", text.data(), ntohs(v4->sin_port));
  }
  if (storage.ss_family == AF_INET6) {
    const auto* const v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, text.data(), text.size());
    return fmt::format("[{}]:{}", text.data(), ntohs(v6->sin6_port));
  }
  return {};
}

}  // namespace qcowkit::nbd
