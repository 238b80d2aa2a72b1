// A server's connection, encrypted.
#include "export/nbd/tls_transport.h"

#include <utility>

namespace qcowkit::nbd {

std::optional<std::size_t> TlsTransport::Wire::receive(std::span<std::byte> into) {
  return plain_.receive(into);
}

void TlsTransport::Wire::send(std::span<const std::byte> from) {
  const iovec buffer{const_cast<std::byte*>(from.data()), from.size()};
  plain_.send({&buffer, 1});
}

TlsTransport::TlsTransport(std::shared_ptr<NbdTransport> plain, const std::string& priority)
    : plain_(std::move(plain)), wire_(*plain_), session_(TlsSide::server, wire_, priority) {}

std::optional<std::size_t> TlsTransport::receive(std::span<std::byte> into) {
  return session_.receive(into);
}

bool TlsTransport::has_bytes() noexcept { return session_.has_received() || plain_->has_bytes(); }

void TlsTransport::wait() {
  if (!session_.has_received()) plain_->wait();
}

void TlsTransport::send(std::span<const iovec> from) { session_.send(from); }

void TlsTransport::say_goodbye() noexcept {
  try {
    session_.say_goodbye();  // its answer is not waited for
  } catch (const Error&) {
    // Who has gone does not need it.
  }
}

void TlsTransport::shut_down(Direction direction) noexcept { plain_->shut_down(direction); }

}  // namespace qcowkit::nbd
