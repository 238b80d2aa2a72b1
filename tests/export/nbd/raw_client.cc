#include "tests/export/nbd/raw_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace qcowkit::nbd::test {

namespace {

constexpr int kPatienceMilliseconds = 20'000;

NbdSocket connect_to(const std::string& path) {
  NbdSocket socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(socket.descriptor(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
      0) {
    throw std::system_error(errno, std::generic_category(), "connect");
  }
  return socket;
}

bool is_readable_within(int descriptor, int milliseconds) {
  pollfd waiting{.fd = descriptor, .events = POLLIN, .revents = 0};
  return ::poll(&waiting, 1, milliseconds) > 0;
}

}  // namespace

RawClient::RawClient(const std::string& path) : socket_(connect_to(path)) {}
RawClient::RawClient(NbdSocket socket) : socket_(std::move(socket)) {}

void RawClient::send(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(descriptor(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    // Whether it is the sending or the receiving that notices depends on the moment.
    if (count < 0 && (errno == EPIPE || errno == ECONNRESET)) {
      throw std::runtime_error("the server has hung up");
    }
    if (count < 0) throw std::system_error(errno, std::generic_category(), "send");
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

Bytes RawClient::receive(std::size_t length) {
  Bytes bytes(length);
  for (std::size_t done = 0; done < length;) {
    if (!is_readable_within(descriptor(), kPatienceMilliseconds)) {
      throw std::runtime_error("the server says nothing");
    }
    const ssize_t count = ::recv(descriptor(), bytes.data() + done, length - done, 0);
    if (count <= 0) throw std::runtime_error("the server has hung up");
    done += static_cast<std::size_t>(count);
  }
  return bytes;
}

bool RawClient::is_hung_up() {
  std::byte byte;
  return is_readable_within(descriptor(), kPatienceMilliseconds) &&
         ::recv(descriptor(), &byte, 1, 0) <= 0;
}

bool RawClient::hears_nothing_for(int milliseconds) {
  return !is_readable_within(descriptor(), milliseconds);
}

void RawClient::finish_sending() { ::shutdown(descriptor(), SHUT_WR); }

void RawClient::greet(std::uint32_t flags) {
  const auto greeting = first<ServerGreeting>(receive(sizeof(ServerGreeting)));
  if (greeting.init_password != kInitPassword || greeting.option_magic != kOptionMagic ||
      greeting.handshake_flags != (handshake_flag::kFixedNewstyle | handshake_flag::kNoZeroes)) {
    throw std::runtime_error("this is no greeting");
  }
  Bytes bytes;
  append(bytes, be32(flags));
  send(bytes);
}

void RawClient::send_option(Option option, std::span<const std::byte> data) {
  Bytes bytes;
  append(bytes, OptionHeader{kOptionMagic, static_cast<std::uint32_t>(option),
                             static_cast<std::uint32_t>(data.size())});
  bytes.insert(bytes.end(), data.begin(), data.end());
  send(bytes);
}

OptionReplies RawClient::option(Option option, std::span<const std::byte> data) {
  send_option(option, data);
  OptionReplies replies;
  while (true) {
    const auto header = first<OptionReplyHeader>(receive(sizeof(OptionReplyHeader)));
    if (header.magic != kOptionReplyMagic || header.option != static_cast<std::uint32_t>(option)) {
      throw std::runtime_error("this is no reply to the option");
    }
    const auto type = static_cast<OptionReply>(std::uint32_t{header.type});
    replies.all.push_back({type, receive(header.length)});
    const bool is_error = (std::uint32_t{header.type} & 0x80000000) != 0;
    if (type == OptionReply::ack || is_error) return replies;
  }
}

std::uint64_t RawClient::enter(Style style, std::string_view name,
                               const std::vector<std::string_view>& contexts) {
  greet();
  style_ = style;
  if (style != Style::simple) {
    const Option wanted =
        style == Style::extended ? Option::extended_headers : Option::structured_reply;
    if (option(wanted).last() != OptionReply::ack) throw std::runtime_error("no such style");
  }
  if (!contexts.empty()) option(Option::set_meta_context, context_data(name, contexts));
  const OptionReplies replies = option(Option::go, info_data(name));
  if (replies.last() != OptionReply::ack) throw std::runtime_error("no such export");
  const auto info = first<InfoExport>(replies.all.front().data);
  flags_ = info.transmission_flags;
  return info.size;
}

void RawClient::request(Command command, std::uint64_t offset, std::uint64_t length,
                        std::uint16_t flags, std::uint64_t cookie) {
  send(style_ == Style::extended
           ? extended(command, offset, length, flags, cookie)
           : compact(command, offset, static_cast<std::uint32_t>(length), flags, cookie));
}

void RawClient::write(std::uint64_t offset, std::span<const std::byte> data, std::uint16_t flags,
                      std::uint64_t cookie) {
  if (style_ == Style::extended) flags |= command_flag::kPayloadLen;
  request(Command::write, offset, data.size(), flags, cookie);
  send(data);
}

Chunk RawClient::chunk(std::size_t read_length) {
  Chunk chunk;
  std::uint64_t length = 0;
  std::uint16_t flags = 0;
  if (style_ == Style::extended) {
    const auto header = first<ExtendedReply>(receive(sizeof(ExtendedReply)));
    if (header.magic != kExtendedReplyMagic) throw std::runtime_error("this is no extended reply");
    chunk.type = static_cast<ReplyType>(std::uint16_t{header.type});
    chunk.cookie = header.cookie;
    chunk.offset = header.offset;
    length = header.length;
    flags = header.flags;
  } else if (style_ == Style::structured) {
    const auto header = first<StructuredReply>(receive(sizeof(StructuredReply)));
    if (header.magic != kStructuredReplyMagic) {
      throw std::runtime_error("this is no structured reply");
    }
    chunk.type = static_cast<ReplyType>(std::uint16_t{header.type});
    chunk.cookie = header.cookie;
    length = header.length;
    flags = header.flags;
  } else {
    const auto header = first<SimpleReply>(receive(sizeof(SimpleReply)));
    if (header.magic != kSimpleReplyMagic) throw std::runtime_error("this is no simple reply");
    chunk.error = static_cast<WireError>(std::uint32_t{header.error});
    chunk.cookie = header.cookie;
    length = chunk.error == WireError::none ? read_length : 0;
    flags = kReplyFlagDone;
  }
  chunk.is_last = (flags & kReplyFlagDone) != 0;
  chunk.payload = receive(length);
  if (chunk.type == ReplyType::error) {
    chunk.error = static_cast<WireError>(std::uint32_t{first<ErrorChunk>(chunk.payload).error});
  }
  return chunk;
}

WireError RawClient::answer() {
  WireError error = WireError::none;
  while (true) {
    const Chunk next = chunk();
    if (next.error != WireError::none) error = next.error;
    if (next.is_last) return error;
  }
}

WireError RawClient::any_answer() {
  be32 magic;
  if (!is_readable_within(descriptor(), kPatienceMilliseconds) ||
      ::recv(descriptor(), &magic, sizeof magic, MSG_PEEK | MSG_WAITALL) != sizeof magic) {
    throw std::runtime_error("the server has hung up");
  }
  if (magic != kSimpleReplyMagic) return answer();
  const auto reply = first<SimpleReply>(receive(sizeof(SimpleReply)));
  return static_cast<WireError>(std::uint32_t{reply.error});
}

Bytes RawClient::read(std::uint64_t offset, std::uint32_t length, std::uint16_t flags) {
  request(Command::read, offset, length, flags);
  if (style_ == Style::simple) {
    const Chunk whole = chunk(length);
    if (whole.error != WireError::none) throw std::runtime_error("the read failed");
    return whole.payload;
  }
  Bytes content(length, std::byte{0xee});
  std::size_t covered = 0;
  while (true) {
    const Chunk next = chunk();
    if (next.error != WireError::none) throw std::runtime_error("the read failed");
    if (next.type == ReplyType::offset_data) {
      const std::uint64_t at = first<OffsetData>(next.payload).offset - offset;
      std::copy(next.payload.begin() + sizeof(OffsetData), next.payload.end(),
                content.begin() + static_cast<std::ptrdiff_t>(at));
      covered += next.payload.size() - sizeof(OffsetData);
    } else if (next.type == ReplyType::offset_hole) {
      const auto hole = first<OffsetHole>(next.payload);
      const auto at = content.begin() + static_cast<std::ptrdiff_t>(hole.offset - offset);
      std::fill_n(at, std::uint32_t{hole.length}, std::byte{0});
      covered += hole.length;
    }
    if (next.is_last) break;
  }
  if (covered != length) throw std::runtime_error("the reply does not cover the request");
  return content;
}

}  // namespace qcowkit::nbd::test
