// The sockets that a server listens on.
#include "cli/nbd/sockets.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "cli/failure.h"
#include "cli/option_values.h"

namespace qcowkit::cli::nbd {

namespace {

constexpr int kFirstActivated = 3;  // sd_listen_fds(3)
constexpr std::uint64_t kActivatedMax = 1024;

/// The variable's number, 0 if there is none.
std::uint64_t environment_number(const char* name) {
  const char* const text = std::getenv(name);
  return text == nullptr ? 0 : parse_number(text).value_or(0);
}

/// A name that a server has left behind which did not end in an orderly way is taken over.
void remove_if_abandoned(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return;  // no socket can be called so
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  const bool nobody_listens =
      ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno == ECONNREFUSED;
  ::close(fd);
  if (nobody_listens) ::unlink(path.c_str());
}

NbdSocket listen_unix(const std::string& path) {
  constexpr std::size_t kPathBytes = sizeof(sockaddr_un{}.sun_path);
  if (path.size() >= kPathBytes) {
    throw Failure(fmt::format("UNIX socket path '{}' is too long\nPath must be less than {} bytes",
                              path, kPathBytes));
  }
  remove_if_abandoned(path);
  try {
    return nbd_listen_unix(path);
  } catch (const Error& e) {
    throw Failure(fmt::format("Failed to bind socket to {}: {}", path, e.code().message()));
  }
}

}  // namespace

std::vector<NbdSocket> take_activated_sockets(const Address& address) {
  const std::uint64_t count = environment_number("LISTEN_FDS");
  if (count == 0 || environment_number("LISTEN_PID") != static_cast<std::uint64_t>(::getpid())) {
    return {};
  }
  if (address.socket_path || address.bind || address.port) {
    throw Failure("--socket, --bind and --port make no sense where the sockets are passed on");
  }
  if (count > kActivatedMax) {
    throw Failure(
        fmt::format("LISTEN_FDS: {} sockets; at most {} are expected", count, kActivatedMax));
  }
  // Programs that this one starts are not meant.
  ::unsetenv("LISTEN_FDS");
  ::unsetenv("LISTEN_PID");
  std::vector<NbdSocket> sockets;
  for (int fd = kFirstActivated; fd < kFirstActivated + static_cast<int>(count); ++fd) {
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
      throw Failure(fmt::format("socket activation failed: descriptor {}: {}", fd,
                                std::generic_category().message(errno)));
    }
    sockets.emplace_back(fd);
  }
  return sockets;
}

void require_address(const Address& address) {
  if (address.socket_path) return;
  const std::string host = address.host();
  const std::string port = address.port.value_or(fmt::format("{}", kNbdPort));
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (error != 0) {
    throw Failure(
        fmt::format("address resolution failed for {}:{}: {}", host, port, ::gai_strerror(error)));
  }
  ::freeaddrinfo(found);
}

std::vector<NbdSocket> listen_at(const Address& address) {
  if (!address.socket_path) return nbd_listen_tcp(address.host(), address.port_number());
  std::vector<NbdSocket> sockets;
  sockets.push_back(listen_unix(*address.socket_path));
  return sockets;
}

}  // namespace qcowkit::cli::nbd
