// A connection's bytes, encrypted.
#include "export/nbd/tls_session.h"

#include <fmt/core.h>

#include <cerrno>
#include <utility>

namespace qcowkit::nbd {

TlsSession::TlsSession(std::shared_ptr<NbdTransport> plain, const std::string& priority)
    : tls_(TlsLibrary::get()), plain_(std::move(plain)) {
  if (const int error = tls_.init(&session_, GNUTLS_SERVER)) {
    throw Error(Errc::unsupported, fmt::format("TLS: {}", tls_.strerror(error)));
  }
  const char* wrong_at = nullptr;
  if (tls_.priority_set_direct(session_, priority.c_str(), &wrong_at) != 0) {
    tls_.deinit(session_);
    throw Error(Errc::invalid_argument, fmt::format("TLS: priority '{}' makes no sense at '{}'",
                                                    priority, wrong_at != nullptr ? wrong_at : ""));
  }
  tls_.transport_set_ptr(session_, this);
  tls_.transport_set_push_function(session_, push);
  tls_.transport_set_pull_function(session_, pull);
}

TlsSession::~TlsSession() { tls_.deinit(session_); }

ssize_t TlsSession::push(gnutls_transport_ptr_t self, const void* bytes, std::size_t count) {
  auto& session = *static_cast<TlsSession*>(self);
  try {
    const iovec buffer{const_cast<void*>(bytes), count};
    session.plain_->send({&buffer, 1});
    return static_cast<ssize_t>(count);
  } catch (...) {
    session.push_failure_ = std::current_exception();
    session.tls_.transport_set_errno(session.session_, EIO);
    return -1;
  }
}

ssize_t TlsSession::pull(gnutls_transport_ptr_t self, void* bytes, std::size_t count) {
  auto& session = *static_cast<TlsSession*>(self);
  try {
    const std::optional<std::size_t> received =
        session.plain_->receive({static_cast<std::byte*>(bytes), count});
    if (received) return static_cast<ssize_t>(*received);
    session.tls_.transport_set_errno(session.session_, EAGAIN);
  } catch (...) {
    session.pull_failure_ = std::current_exception();
    session.tls_.transport_set_errno(session.session_, EIO);
  }
  return -1;
}

void TlsSession::fail(std::exception_ptr& reason, const char* operation, ssize_t result) const {
  if (reason) std::rethrow_exception(std::exchange(reason, nullptr));
  throw Error(std::make_error_code(std::errc::protocol_error),
              fmt::format("TLS {}: {}", operation, tls_.strerror(static_cast<int>(result))));
}

void TlsSession::shake_hands() {
  int result = 0;
  do {
    result = tls_.handshake(session_);
  } while (result < 0 && tls_.error_is_fatal(result) == 0);
  if (result < 0) fail(pull_failure_ ? pull_failure_ : push_failure_, "handshake", result);
}

std::optional<std::size_t> TlsSession::receive(std::span<std::byte> into) {
  for (;;) {
    const ssize_t result = tls_.record_recv(session_, into.data(), into.size());
    if (result >= 0) return static_cast<std::size_t>(result);
    if (result == GNUTLS_E_AGAIN) return std::nullopt;
    // Clients that just hang up are as welcome here as where nothing is encrypted.
    if (result == GNUTLS_E_PREMATURE_TERMINATION) return 0;
    if (tls_.error_is_fatal(static_cast<int>(result)) != 0) fail(pull_failure_, "receive", result);
  }
}

void TlsSession::wait() {
  if (tls_.record_check_pending(session_) == 0) plain_->wait();
}

void TlsSession::send(std::span<const iovec> from) {
  for (const iovec& buffer : from) {
    const auto* next = static_cast<const std::byte*>(buffer.iov_base);
    for (std::size_t left = buffer.iov_len; left > 0;) {
      const ssize_t result = tls_.record_send(session_, next, left);
      if (result < 0) {
        if (tls_.error_is_fatal(static_cast<int>(result)) == 0) continue;
        fail(push_failure_, "send", result);
      }
      next += result;
      left -= static_cast<std::size_t>(result);
    }
  }
}

void TlsSession::say_goodbye() noexcept {
  // Its answer is not waited for, and who has gone does not need it.
  static_cast<void>(tls_.bye(session_, GNUTLS_SHUT_WR));
}

void TlsSession::shut_down(Direction direction) noexcept { plain_->shut_down(direction); }

}  // namespace qcowkit::nbd
