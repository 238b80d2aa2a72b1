// A client that asks more of an NBD server than ordinary ones can: what it measures is the server.
//
//     nbd_load SOCKET read|write REQUEST_BYTES DEPTH SECONDS
//
// Keeps DEPTH requests at random offsets under way over one connection, with structured replies,
// and prints how many were answered a second. The requests that replies leave room for go out in
// one system call, and data are received, but not looked at.
#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/nbd_wire.h"
#include "qcowkit/error.h"

namespace qcowkit::nbd {
namespace {

[[noreturn]] void fail(const std::string& what) { throw Error(Errc::invalid_argument, what); }

class Socket {
 public:
  explicit Socket(const std::string& path) : descriptor_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    if (path.size() >= sizeof address.sun_path) fail("the socket's name is too long");
    std::ranges::copy(path, address.sun_path);
    const auto* const name = reinterpret_cast<const sockaddr*>(&address);
    if (::connect(descriptor_, name, sizeof address) != 0) throw os_error(errno, path);
  }
  ~Socket() { ::close(descriptor_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  void send(std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t count = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count < 0) throw os_error(errno, "send");
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }
  /// What is there, at least one byte.
  std::size_t receive_some(std::span<std::byte> into) const {
    const ssize_t count = ::recv(descriptor_, into.data(), into.size(), 0);
    if (count < 0) throw os_error(errno, "receive");
    if (count == 0) fail("the server has hung up");
    return static_cast<std::size_t>(count);
  }
  void receive(std::span<std::byte> into) const {
    while (!into.empty()) into = into.subspan(receive_some(into));
  }
  template <typename Raw>
  void send_raw(const Raw& raw) const {
    send(std::as_bytes(std::span(&raw, 1)));
  }
  template <typename Raw>
  Raw receive_raw() const {
    Raw raw;
    receive(std::as_writable_bytes(std::span(&raw, 1)));
    return raw;
  }

 private:
  const int descriptor_;
};

void expect_ack(const Socket& socket, std::uint64_t* size_bytes) {
  while (true) {
    const auto reply = socket.receive_raw<OptionReplyHeader>();
    std::vector<std::byte> data(reply.length);
    socket.receive(data);
    const auto type = static_cast<OptionReply>(std::uint32_t{reply.type});
    if (type == OptionReply::ack) return;
    if (type != OptionReply::info) fail("the server refuses an option");
    InfoExport info;
    if (data.size() != sizeof info || size_bytes == nullptr) continue;
    std::memcpy(&info, data.data(), sizeof info);
    *size_bytes = info.size;
  }
}

/// Returns the size of the export without a name.
std::uint64_t negotiate(const Socket& socket) {
  static_cast<void>(socket.receive_raw<ServerGreeting>());
  socket.send_raw(be32{client_flag::kFixedNewstyle | client_flag::kNoZeroes});
  const auto option = [&](Option which, std::uint32_t length) {
    socket.send_raw(OptionHeader{kOptionMagic, static_cast<std::uint32_t>(which), length});
  };
  option(Option::structured_reply, 0);
  expect_ack(socket, nullptr);
  option(Option::go, sizeof(be32) + sizeof(be16));
  socket.send_raw(be32{0});  // the name's length
  socket.send_raw(be16{0});  // how many more facts are asked for
  std::uint64_t size_bytes = 0;
  expect_ack(socket, &size_bytes);
  return size_bytes;
}

class Load {
 public:
  Load(const Socket& socket, std::uint64_t size_bytes, Command command, std::uint32_t request_bytes)
      : socket_(socket),
        command_(command),
        request_bytes_(request_bytes),
        places_(size_bytes / request_bytes) {
    if (places_ == 0) fail("the disk is smaller than a request");
  }

  void ask(std::uint64_t count) {
    const bool writes = command_ == Command::write;
    outgoing_.clear();
    for (; count > 0; --count) {
      const CompactRequest request{kRequestMagic,
                                   std::uint16_t{0},
                                   static_cast<std::uint16_t>(command_),
                                   std::uint64_t{0},
                                   random_() % places_ * request_bytes_,
                                   request_bytes_};
      const auto bytes = std::as_bytes(std::span(&request, 1));
      outgoing_.insert(outgoing_.end(), bytes.begin(), bytes.end());
      if (writes) outgoing_.resize(outgoing_.size() + request_bytes_, std::byte{0x5a});
    }
    socket_.send(outgoing_);
  }

  /// Waits for replies. Returns how many requests they end.
  std::uint64_t take_replies() {
    end_ += socket_.receive_some(std::span(incoming_).subspan(end_));
    std::uint64_t done = 0;
    std::size_t at = 0;
    while (true) {
      const std::size_t skipped = std::min(payload_left_, end_ - at);
      at += skipped;
      payload_left_ -= skipped;
      StructuredReply chunk;
      if (payload_left_ > 0 || end_ - at < sizeof chunk) break;
      std::memcpy(&chunk, incoming_.data() + at, sizeof chunk);
      if (chunk.magic != kStructuredReplyMagic) fail("this is no reply");
      if (chunk.type >= static_cast<std::uint16_t>(ReplyType::error)) fail("a request has failed");
      at += sizeof chunk;
      payload_left_ = chunk.length;
      // Its payload may still be on the way; that of the last request is nobody's loss.
      done += chunk.flags & kReplyFlagDone;
    }
    std::memmove(incoming_.data(), incoming_.data() + at, end_ - at);
    end_ -= at;
    return done;
  }

 private:
  const Socket& socket_;
  const Command command_;
  const std::uint32_t request_bytes_;
  const std::uint64_t places_;
  std::mt19937_64 random_;
  std::vector<std::byte> outgoing_;
  std::vector<std::byte> incoming_ = std::vector<std::byte>(1 << 20);
  std::size_t end_ = 0;
  std::size_t payload_left_ = 0;
};

/// Returns the requests done a second.
double run(const std::string& path, Command command, std::uint32_t request_bytes,
           std::uint64_t depth, double seconds) {
  using Clock = std::chrono::steady_clock;
  const Socket socket(path);
  Load load(socket, negotiate(socket), command, request_bytes);
  const Clock::time_point start = Clock::now();
  const Clock::time_point end =
      start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  std::uint64_t done = 0;
  load.ask(depth);
  for (std::uint64_t under_way = depth; under_way > 0;) {
    const std::uint64_t answered = load.take_replies();
    done += answered;
    under_way -= answered;
    if (answered > 0 && Clock::now() < end) {
      load.ask(answered);
      under_way += answered;
    }
  }
  return static_cast<double>(done) / std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace
}  // namespace qcowkit::nbd

int main(int argc, char** argv) {
  using qcowkit::nbd::Command;
  const std::string_view what = argc == 6 ? argv[2] : "";
  if (what != "read" && what != "write") {
    fmt::print(stderr, "usage: nbd_load SOCKET read|write REQUEST_BYTES DEPTH SECONDS\n");
    return 2;
  }
  try {
    const auto request_bytes = static_cast<std::uint32_t>(std::strtoul(argv[3], nullptr, 10));
    const std::uint64_t depth = std::strtoull(argv[4], nullptr, 10);
    if (request_bytes == 0 || depth == 0) qcowkit::nbd::fail("sizes and depths are above zero");
    fmt::print("{:.0f}\n",
               qcowkit::nbd::run(argv[1], what == "read" ? Command::read : Command::write,
                                 request_bytes, depth, std::strtod(argv[5], nullptr)));
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "nbd_load: {}\n", error.what());
    return 1;
  }
}
