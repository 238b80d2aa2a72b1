// A server's connection, encrypted.
#pragma once

#include <memory>

#include "base/tls_session.h"
#include "qcowkit/nbd.h"

namespace qcowkit::nbd {

/// The server's side of one TLS session over a plain connection.
class TlsTransport final : public NbdTransport {
 public:
  /// Throws `Error`.
  TlsTransport(std::shared_ptr<NbdTransport> plain, const std::string& priority);

  TlsSession& session() noexcept { return session_; }

  std::optional<std::size_t> receive(std::span<std::byte> into) override;
  bool has_bytes() noexcept override;
  void wait() override;
  void send(std::span<const iovec> from) override;
  void say_goodbye() noexcept override;
  void shut_down(Direction direction) noexcept override;

 private:
  /// The encrypted bytes' way.
  class Wire final : public TlsWire {
   public:
    explicit Wire(NbdTransport& plain) noexcept : plain_(plain) {}
    std::optional<std::size_t> receive(std::span<std::byte> into) override;
    void send(std::span<const std::byte> from) override;

   private:
    NbdTransport& plain_;
  };

  const std::shared_ptr<NbdTransport> plain_;
  Wire wire_;
  TlsSession session_;
};

}  // namespace qcowkit::nbd
