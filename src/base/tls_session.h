// A connection's bytes, encrypted: one end of a TLS session.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/tls_library.h"

namespace qcowkit {

enum class TlsSide { client, server };

/// What carries a session's encrypted bytes.
class TlsWire {
 public:
  virtual ~TlsWire() = default;
  /// Waits for bytes. Returns how many there were, 0 where the other side has ended the connection,
  /// and nothing where it is to be tried again. Throws `Error` where the connection is broken.
  virtual std::optional<std::size_t> receive(std::span<std::byte> into) = 0;
  /// Sends all of it. Throws `Error`.
  virtual void send(std::span<const std::byte> from) = 0;
};

/// After the handshake, one thread may receive while another sends. Records are gathered, so that
/// the wire is asked once for many: GnuTLS itself would ask twice for each.
class TlsSession {
 public:
  /// `priority`: which protocol versions and ciphers are allowed, in GnuTLS's words. `wire` is to
  /// live longer. Throws `Error`.
  TlsSession(TlsSide side, TlsWire& wire, const std::string& priority);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  gnutls_session_t handle() const noexcept { return session_; }
  /// Agrees on keys with the other side. Throws `Error`.
  void shake_hands();

  /// Client: tells the server whom it is taken for, before the handshake.
  void ask_for(const std::string& hostname);

  /// As `TlsWire` says. All that has come is there at once, as far as there is room.
  std::optional<std::size_t> receive(std::span<std::byte> into);
  /// True if `receive` may have bytes without the wire's bringing more.
  bool has_received() const noexcept;
  void send(std::span<const iovec> from);
  /// Tells the other side that nothing more will be sent. Throws `Error`.
  void say_goodbye();

 private:
  static ssize_t push(gnutls_transport_ptr_t self, const void* bytes, std::size_t count);
  static ssize_t pull(gnutls_transport_ptr_t self, void* bytes, std::size_t count);
  void gather(std::span<const std::byte> bytes);
  void send_record(std::span<const std::byte> plain);
  void send_gathered();
  [[noreturn]] void fail(std::exception_ptr& reason, const char* operation, ssize_t result) const;

  const TlsLibrary& tls_;
  TlsWire& wire_;
  gnutls_session_t session_ = nullptr;

  // The receiver's.
  std::unique_ptr<std::byte[]> received_;
  std::size_t received_begin_ = 0;
  std::size_t received_end_ = 0;
  bool may_wait_ = true;  ///< for the wire
  // The sender's: encrypted records, and plain bytes for the next one.
  std::unique_ptr<std::byte[]> outgoing_;
  std::size_t outgoing_bytes_ = 0;
  bool gathers_ = false;  ///< `send` is under way
  std::unique_ptr<std::byte[]> record_;
  std::size_t record_bytes_ = 0;

  // What the wire threw, on its way through the library: one for each direction.
  std::exception_ptr push_failure_;
  std::exception_ptr pull_failure_;
};

}  // namespace qcowkit
