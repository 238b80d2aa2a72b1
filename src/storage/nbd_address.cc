// Connecting to where an NBD server listens.
#include "storage/nbd_address.h"

#include <fmt/core.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "qcowkit/error.h"

namespace qcowkit {

namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

/// Returns a socket, or -1 with `errno`.
int try_connect(int family, const sockaddr* address, socklen_t length) {
  const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  int result = 0;
  do {
    result = ::connect(fd, address, length);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return fd;
  const int code = errno;
  ::close(fd);
  errno = code;
  return -1;
}

int connect_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  path.copy(address.sun_path, path.size());
  return try_connect(AF_UNIX, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

int connect_tcp(const NbdClientOptions& options) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int problem = ::getaddrinfo(options.host.c_str(), options.port.c_str(), &hints, &found);
  if (problem != 0) {
    throw Error(Errc::invalid_argument,
                fmt::format("address resolution failed for {}: {}", nbd_address_of(options),
                            ::gai_strerror(problem)));
  }
  const Addresses addresses(found, &::freeaddrinfo);
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    const int fd = try_connect(address->ai_family, address->ai_addr, address->ai_addrlen);
    if (fd < 0) continue;
    // Requests are sent whole; to wait for more would be wasted.
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    return fd;
  }
  return -1;
}

}  // namespace

std::string nbd_address_of(const NbdClientOptions& options) {
  if (!options.socket_path.empty()) return options.socket_path;
  return fmt::format("{}:{}", options.host, options.port);
}

int connect_to_address(const NbdClientOptions& options) {
  const int fd =
      !options.socket_path.empty() ? connect_unix(options.socket_path) : connect_tcp(options);
  if (fd >= 0) return fd;
  throw os_error(errno, fmt::format("Failed to connect to '{}'", nbd_address_of(options)));
}

}  // namespace qcowkit
