// Sockets that servers listen on.
#include <fcntl.h>
#include <fmt/core.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "qcowkit/nbd.h"

namespace qcowkit {

namespace {

/// Clients that the kernel keeps waiting until they are accepted.
constexpr int kBacklog = 1024;

NbdSocket open_socket(int family, const std::string& context) {
  const int descriptor = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) throw os_error(errno, context);
  return NbdSocket(descriptor);
}

void bind_and_listen(const NbdSocket& socket, const sockaddr* address, socklen_t length,
                     const std::string& context) {
  if (::bind(socket.descriptor(), address, length) != 0 ||
      ::listen(socket.descriptor(), kBacklog) != 0) {
    throw os_error(errno, context);
  }
}

struct FreeAddresses {
  void operator()(addrinfo* list) const noexcept { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

Addresses find_addresses(const std::string& host, std::uint16_t port, const std::string& context) {
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.empty() ? nullptr : host.c_str(),
                                  std::to_string(port).c_str(), &hints, &found);
  if (error == EAI_SYSTEM) throw os_error(errno, context);
  if (error != 0) {
    throw Error(Errc::invalid_argument, fmt::format("{}: {}", context, ::gai_strerror(error)));
  }
  return Addresses(found);
}

NbdSocket listen_at(const addrinfo& address, const std::string& context) {
  NbdSocket socket = open_socket(address.ai_family, context);
  const int on = 1;
  ::setsockopt(socket.descriptor(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.ai_family == AF_INET6) {  // the IPv4 addresses are in the list, too
    ::setsockopt(socket.descriptor(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  bind_and_listen(socket, address.ai_addr, address.ai_addrlen, context);
  return socket;
}

}  // namespace

NbdSocket::NbdSocket(NbdSocket&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      path_(std::exchange(other.path_, std::string())) {}

NbdSocket& NbdSocket::operator=(NbdSocket&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(path_, other.path_);
  return *this;
}

NbdSocket::~NbdSocket() {
  if (!path_.empty()) ::unlink(path_.c_str());
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::uint16_t NbdSocket::port() const {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getsockname(descriptor_, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return 0;
  if (storage.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
  }
  if (storage.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
  }
  return 0;
}

NbdSocket nbd_listen_unix(const std::string& path) {
  const std::string context = "listen at " + path;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    throw Error(Errc::invalid_argument,
                fmt::format("{}: the name of a Unix socket has 1 to {} bytes", context,
                            sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const NbdSocket socket = open_socket(AF_UNIX, context);
  bind_and_listen(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address, context);
  const int descriptor = ::fcntl(socket.descriptor(), F_DUPFD_CLOEXEC, 0);
  if (descriptor < 0) throw os_error(errno, context);
  return NbdSocket(descriptor, path);
}

std::vector<NbdSocket> nbd_listen_tcp(const std::string& host, std::uint16_t port) {
  const std::string context = fmt::format("listen at {}:{}", host, port);
  const Addresses addresses = find_addresses(host, port, context);
  std::vector<NbdSocket> sockets;
  for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
    sockets.push_back(listen_at(*address, context));
  }
  return sockets;
}

}  // namespace qcowkit
