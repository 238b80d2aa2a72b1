// A client that says exactly what a test wants it to, right or wrong.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "export/nbd/request.h"
#include "qcowkit/nbd.h"
#include "tests/export/nbd/wire_bytes.h"

namespace qcowkit::nbd::test {

/// The replies to one option, up to the last.
struct OptionReplies {
  struct One {
    OptionReply type;
    Bytes data;
  };
  std::vector<One> all;

  OptionReply last() const { return all.back().type; }
};

/// One chunk of a reply, of whichever style.
struct Chunk {
  ReplyType type{};
  WireError error{};  ///< of simple replies and error chunks
  std::uint64_t cookie = 0;
  std::uint64_t offset = 0;  ///< of extended replies: the request's
  bool is_last = true;
  Bytes payload;
};

/// Waits at most 20 seconds for anything; then, or where the server hangs up, it throws.
class RawClient {
 public:
  /// Connects to a Unix socket.
  explicit RawClient(const std::string& path);
  /// Takes a connected socket.
  explicit RawClient(NbdSocket socket);

  void send(std::span<const std::byte> bytes);
  Bytes receive(std::size_t length);
  /// True if the server ends the connection before it sends anything.
  bool is_hung_up();
  /// True if there is nothing to be received for the time being.
  bool hears_nothing_for(int milliseconds);
  /// Says that it will send nothing more.
  void finish_sending();
  int descriptor() const noexcept { return socket_.descriptor(); }

  // Handshake.

  /// Takes the greeting and answers with these flags.
  void greet(std::uint32_t flags = client_flag::kKnown);
  void send_option(Option option, std::span<const std::byte> data = {});
  OptionReplies option(Option option, std::span<const std::byte> data = {});
  /// Negotiates all the way to requests. The export's size.
  std::uint64_t enter(Style style = Style::structured, std::string_view name = "",
                      const std::vector<std::string_view>& contexts = {});
  std::uint16_t transmission_flags() const noexcept { return flags_; }

  // Transmission.

  void request(Command command, std::uint64_t offset, std::uint64_t length, std::uint16_t flags = 0,
               std::uint64_t cookie = 7);
  void write(std::uint64_t offset, std::span<const std::byte> data, std::uint16_t flags = 0,
             std::uint64_t cookie = 7);
  /// The next chunk. `read_length`: of a read request's data, where replies are simple.
  Chunk chunk(std::size_t read_length = 0);
  /// Takes the whole reply: its error, or `none`.
  WireError answer();
  /// The same for what is no read request, also where the server answers with a simple reply.
  WireError any_answer();
  /// Reads a range of at most 32 MiB, whatever chunks it comes in.
  Bytes read(std::uint64_t offset, std::uint32_t length, std::uint16_t flags = 0);

 private:
  NbdSocket socket_;
  Style style_ = Style::simple;
  std::uint16_t flags_ = 0;
};

}  // namespace qcowkit::nbd::test
