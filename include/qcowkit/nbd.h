// Part of qcowkit. MIT licence; see LICENSE.
//
// Serving images over the network block device (NBD) protocol.
//
//   NbdServer server;
//   server.add_export({.name = "disk", .image = disk.get(), .read_only = true});
//   server.start(nbd_listen_tcp("", kNbdPort));
//   server.wait();  // until somebody calls `request_stop`
//
// Section names in quotes are those of the protocol's specification, doc/proto.md of
// NetworkBlockDevice/nbd.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "qcowkit/error.h"
#include "qcowkit/image.h"

namespace qcowkit {

/// The port that NBD has in the registry of ports.
inline constexpr std::uint16_t kNbdPort = 10809;

/// One disk that clients can ask for.
struct NbdExport {
  std::string name = {};  ///< at most 4096 bytes; empty: what clients get that ask for no name
  std::string description = {};  ///< for people; at most 4096 bytes
  Image* image = nullptr;        ///< stays the caller's; open until the server has stopped
  bool read_only = false;        ///< clients may not write; so also where the image is read-only
  /// The part of the disk that clients see, in bytes. Without a size: up to the disk's end.
  std::uint64_t guest_offset = 0;
  std::optional<std::uint64_t> size_bytes = {};
  /// Bitmaps of the image that clients may read, as "qemu:dirty-bitmap:NAME" ("Metadata querying").
  std::vector<std::string> bitmaps = {};
  /// Clients may ask which layer of the chain provides what, as "qemu:allocation-depth".
  bool allocation_depth = false;
  /// The block size that clients are told to keep to, a power of 2 (NBD protocol, "Block size
  /// constraints"); smaller requests are served as well.
  std::uint32_t block_bytes_min = 1;
};

/// A socket, from its opening to its end. Owns the descriptor, and the name of a Unix socket that
/// it has made: that is removed with it.
class NbdSocket {
 public:
  NbdSocket() = default;
  /// Takes over an open socket, for example one that a service manager has passed on.
  explicit NbdSocket(int descriptor, std::string path = {}) noexcept
      : descriptor_(descriptor), path_(std::move(path)) {}
  NbdSocket(NbdSocket&& other) noexcept;
  NbdSocket& operator=(NbdSocket&& other) noexcept;
  ~NbdSocket();

  int descriptor() const noexcept { return descriptor_; }
  /// The port of a TCP socket (useful where any port would do); 0 for others.
  std::uint16_t port() const;

 private:
  int descriptor_ = -1;
  std::string path_;  ///< to be removed; empty: none
};

/// Listens at a name in the file system, which must not exist. Throws `Error` (errno).
NbdSocket nbd_listen_unix(const std::string& path);
/// Listens at all addresses of `host` ("" : of this machine) and `port` (0: one that is free; only
/// for a host with one address). Throws `Error` (errno), or `Errc::invalid_argument` where the name
/// means nothing.
std::vector<NbdSocket> nbd_listen_tcp(const std::string& host, std::uint16_t port);

/// How the bytes of one connection travel.
///
/// One thread receives and another sends at the same time; `shut_down` may be called by a third.
class NbdTransport {
 public:
  virtual ~NbdTransport() = default;
  NbdTransport() = default;
  NbdTransport(const NbdTransport&) = delete;
  NbdTransport& operator=(const NbdTransport&) = delete;

  /// Waits for bytes. Returns how many there were (at most `into.size()`), 0 where the other side
  /// has ended the connection, and nothing if there were none for `kIdleSeconds`. Throws `Error`
  /// (errno) where the connection is broken.
  virtual std::optional<std::size_t> receive(std::span<std::byte> into) = 0;
  static constexpr int kIdleSeconds = 2;
  /// True if `receive` has something to give at once, as far as that is known without waiting.
  virtual bool has_bytes() noexcept { return false; }
  /// Waits for bytes to receive, however long that takes; or for `shut_down`.
  virtual void wait() = 0;
  /// Sends all of it. Throws `Error` where the connection is broken, or the other side has taken
  /// nothing for long (ETIMEDOUT).
  virtual void send(std::span<const iovec> from) = 0;
  /// True where `send_file` copies less than reading the file and `send` do.
  virtual bool sends_files() const noexcept { return false; }
  /// Sends bytes of a file without their passing through memory of this process. Returns how many
  /// from `offset` on: fewer than asked where the file ends, or cannot be read. Throws as `send`
  /// does. The kernel may look at the bytes until the other side has taken them.
  virtual std::uint64_t send_file(int /*descriptor*/, std::uint64_t /*offset*/,
                                  std::uint64_t /*length_bytes*/) {
    return 0;
  }
  /// Tells the other side that all was sent, where the bytes' own protocol has words for that.
  /// Called when nobody sends any more.
  virtual void say_goodbye() noexcept {}
  enum class Direction { receiving, both };
  /// Ends what receives, and with `both` also what sends, now and in future. Bytes that have
  /// arrived may still be received.
  virtual void shut_down(Direction direction) noexcept = 0;
};

/// What encrypts connections: the server's side of TLS with its credentials. Thread-safe.
class NbdTls {
 public:
  virtual ~NbdTls() = default;
  /// Makes a plain connection an encrypted one, as the client is waiting for. Throws `Error` if the
  /// client is not let in. Called on a thread of that connection; the server ends what takes too
  /// long by `shut_down` of `plain`, which is to make this throw.
  virtual std::unique_ptr<NbdTransport> accept(std::shared_ptr<NbdTransport> plain) = 0;
};

/// Who is at the other end.
struct NbdClient {
  std::uint64_t id = 0;     ///< counts from 1
  std::string address;      ///< "127.0.0.1:40112", "[::1]:40112"; empty for Unix sockets
  std::string export_name;  ///< once the client has chosen
};

/// What a server allows its clients, and whom it tells of them.
struct NbdServerOptions {
  /// Clients at a time; more of them wait until one has gone. 0: no limit.
  std::uint32_t connections_max = 0;
  /// A client that has not chosen an export by then is sent away. 0: no limit.
  std::uint32_t handshake_seconds = 10;
  /// A client that takes nothing of a reply for so long is sent away.
  std::uint32_t send_seconds = 60;
  /// A server that is to stop gives clients so long to take their answers.
  std::uint32_t drain_seconds = 5;
  /// Threads beside the one that each connection has, to keep more requests of a connection going
  /// where the storage is slow, or there are cores for it. 0: 32.
  std::uint32_t extra_threads_max = 0;
  /// Memory that the large requests of all clients hold at a time; what goes beyond is transferred
  /// bit by bit, and no client waits for another. 0: 512 MiB.
  std::uint64_t memory_bytes_max = 0;
  /// With it, clients must encrypt; without it they cannot.
  std::shared_ptr<NbdTls> tls = nullptr;

  // Called on the server's threads; must not throw, nor call `stop`, `wait` or the destructor.

  /// A client has chosen an export.
  std::function<void(const NbdClient&)> on_connect = {};
  /// A client that had chosen an export has gone.
  std::function<void(const NbdClient&)> on_disconnect = {};
  /// One or more that had chosen an export have gone, and nobody is there any more, not even to
  /// choose. `request_stop` here makes a server for one client.
  std::function<void()> on_last_disconnect = {};
  /// Something went wrong with one client or one of its requests; for a log.
  std::function<void(const std::string& message)> on_problem = {};
};

/// Serves images to any number of clients at once.
///
/// Speaks the fixed newstyle protocol ("Fixed newstyle negotiation") with structured replies,
/// extended headers, block status ("base:allocation", "qemu:allocation-depth",
/// "qemu:dirty-bitmap:NAME") and TLS where given. All clients of an export see one disk, and a
/// flush covers what any of them wrote.
///
/// Thread-safe. It has a thread that waits for clients, one for each client, and a bounded number
/// of others (`NbdServerOptions::extra_threads_max`) while they are needed.
class NbdServer {
 public:
  explicit NbdServer(NbdServerOptions options = {});
  ~NbdServer();  ///< stops
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;

  /// Offers a disk, to clients that come from now on. Throws `Error` (invalid_argument) if its name
  /// is taken, the window lies not within the disk, or the image has not this bitmap.
  void add_export(const NbdExport& disk);

  /// Begins to listen. Returns at once. Once only. Throws `Error` (errno) where a thread cannot be
  /// started.
  void start(std::vector<NbdSocket> listening);
  /// Takes on a client that is connected already. It counts as one of `connections_max`, but does
  /// not wait. Not before `start` (which may be told to listen nowhere), nor after `stop`.
  void serve(NbdSocket connected);

  /// Makes the server end: no new clients, those there are have the requests that they have sent
  /// answered and are sent away, images are flushed. Returns at once; may be called in callbacks,
  /// and does not allocate, lock or throw, so also in signal handlers.
  void request_stop() noexcept;
  /// The same, but clients are disconnected at once, whatever of theirs is under way; also where
  /// the server is stopping already, and would wait for those that are slow.
  void request_cut_off() noexcept;
  /// Returns when the server has ended. Throws `Error` if an image could not be flushed.
  void wait();
  /// Both.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace qcowkit
