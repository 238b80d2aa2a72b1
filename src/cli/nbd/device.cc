// Exports as block devices of the kernel's ("/dev/nbd0").
#include "cli/nbd/device.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/nbd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <span>
#include <system_error>
#include <utility>

#include "base/endian.h"
#include "cli/failure.h"

namespace qcowkit::cli::nbd {

namespace {

constexpr unsigned long kBlockBytes = 512;
constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;  // NBD protocol, "Newstyle negotiation"
constexpr std::uint32_t kFixedNewstyle = 1;
constexpr std::uint32_t kNoZeroes = 2;
constexpr std::uint32_t kOptionExportName = 1;

/// What the client sends first.
struct ClientStart {
  be32 flags;
  be64 magic;
  be32 option;
  be32 name_bytes;
};
/// What the server sends first, and what it answers.
struct ServerStart {
  be64 magic;
  be64 option_magic;
  be16 flags;
};
struct ServerAnswer {
  be64 size_bytes;
  be16 flags;
};
static_assert(sizeof(ClientStart) == 20 && sizeof(ServerStart) == 18 && sizeof(ServerAnswer) == 10);

std::string error_text() { return std::generic_category().message(errno); }

void exchange(int fd, std::span<const std::byte> bytes, bool is_sending) {
  while (!bytes.empty()) {
    const ssize_t count = is_sending
                              ? ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL)
                              : ::recv(fd, const_cast<std::byte*>(bytes.data()), bytes.size(), 0);
    if (count > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    } else if (count == 0 || errno != EINTR) {
      throw Failure(fmt::format("negotiation for the device: {}",
                                count == 0 ? "the server has ended it" : error_text()));
    }
  }
}

template <typename T>
void send(int fd, const T& value) {
  exchange(fd, std::as_bytes(std::span(&value, 1)), true);
}
template <typename T>
T receive(int fd) {
  T value;
  exchange(fd, std::as_bytes(std::span(&value, 1)), false);
  return value;
}

/// The simplest negotiation that there is: the kernel speaks only what it leads to.
ServerAnswer negotiate(int fd, const std::string& export_name) {
  receive<ServerStart>(fd);
  ClientStart start;
  start.flags = kFixedNewstyle | kNoZeroes;
  start.magic = kOptionMagic;
  start.option = kOptionExportName;
  start.name_bytes = static_cast<std::uint32_t>(export_name.size());
  send(fd, start);
  exchange(fd, std::as_bytes(std::span(export_name)), true);
  return receive<ServerAnswer>(fd);
}

void require_ioctl(int fd, unsigned long request, unsigned long value, const char* complaint) {
  if (::ioctl(fd, request, value) < 0) throw Failure(complaint);
}

/// In the reference's order: who shares a device with it finds out at the same step.
void set_up(int device_fd, int socket_fd, const ServerAnswer& answer) {
  require_ioctl(device_fd, NBD_SET_SOCK, static_cast<unsigned long>(socket_fd),
                "Failed to set NBD socket");
  require_ioctl(device_fd, NBD_SET_BLKSIZE, kBlockBytes, "Failed setting NBD block size");
  require_ioctl(device_fd, NBD_SET_SIZE_BLOCKS, answer.size_bytes / kBlockBytes,
                "Failed setting size (in blocks)");
  // They also say whether the device is read-only.
  require_ioctl(device_fd, NBD_SET_FLAGS, answer.flags, "Failed setting flags");
}

int open_device(const std::string& device, const char* complaint) {
  const int fd = ::open(device.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) throw Failure(fmt::format("{} {}: {}", complaint, device, error_text()));
  return fd;
}

}  // namespace

ConnectedDevice::ConnectedDevice(const std::string& device, NbdServer& server,
                                 const std::string& export_name, std::function<void()> on_end)
    : device_fd_(open_device(device, "Failed to open")) {
  try {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
      throw Failure(fmt::format("Failed to make a pair of sockets: {}", error_text()));
    }
    socket_fd_ = ends[0];
    server.serve(NbdSocket(ends[1]));
    set_up(device_fd_, socket_fd_, negotiate(socket_fd_, export_name));
  } catch (...) {
    if (socket_fd_ >= 0) ::close(socket_fd_);
    ::close(device_fd_);
    throw;
  }
  // Returns when the device is disconnected.
  runner_ = std::thread([this, ended = std::move(on_end)] {
    ::ioctl(device_fd_, NBD_DO_IT);
    ::ioctl(device_fd_, NBD_CLEAR_QUE);
    ::ioctl(device_fd_, NBD_CLEAR_SOCK);
    ended();
  });
}

ConnectedDevice::~ConnectedDevice() {
  ::ioctl(device_fd_, NBD_DISCONNECT);
  runner_.join();
  ::close(socket_fd_);
  ::close(device_fd_);
}

void disconnect_device(const std::string& device) {
  const int fd = open_device(device, "Cannot open");
  ::ioctl(fd, NBD_CLEAR_QUE);
  ::ioctl(fd, NBD_DISCONNECT);
  ::ioctl(fd, NBD_CLEAR_SOCK);
  ::close(fd);
}

}  // namespace qcowkit::cli::nbd
