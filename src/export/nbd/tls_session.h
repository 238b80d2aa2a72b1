// A connection's bytes, encrypted.
#pragma once

#include <exception>
#include <memory>
#include <string>

#include "export/nbd/tls_library.h"
#include "qcowkit/nbd.h"

namespace qcowkit::nbd {

/// The server's side of one TLS session over a plain connection.
class TlsSession final : public NbdTransport {
 public:
  /// `priority`: see `NbdTlsOptions`. Throws `Error`.
  TlsSession(std::shared_ptr<NbdTransport> plain, const std::string& priority);
  ~TlsSession() override;

  gnutls_session_t handle() const noexcept { return session_; }
  /// Agrees on keys with the client. Throws `Error`.
  void shake_hands();

  std::optional<std::size_t> receive(std::span<std::byte> into) override;
  void wait() override;
  void send(std::span<const iovec> from) override;
  void say_goodbye() noexcept override;
  void shut_down(Direction direction) noexcept override;

 private:
  static ssize_t push(gnutls_transport_ptr_t self, const void* bytes, std::size_t count);
  static ssize_t pull(gnutls_transport_ptr_t self, void* bytes, std::size_t count);
  [[noreturn]] void fail(std::exception_ptr& reason, const char* operation, ssize_t result) const;

  const TlsLibrary& tls_;
  const std::shared_ptr<NbdTransport> plain_;
  gnutls_session_t session_ = nullptr;
  // What the plain connection threw, on its way through the library: one for each direction.
  std::exception_ptr push_failure_;
  std::exception_ptr pull_failure_;
};

}  // namespace qcowkit::nbd
