// A connection's bytes, encrypted: one end of a TLS session.
#include "base/tls_session.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "qcowkit/error.h"

namespace qcowkit {

namespace {

constexpr std::size_t kRecordBytes = 16384;  // TLS: the most that one record holds
constexpr std::size_t kReceivedBytes = 128 << 10;
constexpr std::size_t kOutgoingBytes = 128 << 10;

}  // namespace

TlsSession::TlsSession(TlsSide side, TlsWire& wire, const std::string& priority)
    : tls_(TlsLibrary::get()),
      wire_(wire),
      received_(new std::byte[kReceivedBytes]),
      outgoing_(new std::byte[kOutgoingBytes]),
      record_(new std::byte[kRecordBytes]) {
  if (const int error =
          tls_.init(&session_, side == TlsSide::server ? GNUTLS_SERVER : GNUTLS_CLIENT)) {
    throw Error(Errc::unsupported, fmt::format("TLS: {}", tls_.strerror(error)));
  }
  if (const int error = tls_.priority_set_direct(session_, priority.c_str(), nullptr)) {
    tls_.deinit(session_);
    throw Error(Errc::invalid_argument, fmt::format("Unable to set TLS session priority {}: {}",
                                                    priority, tls_.strerror(error)));
  }
  tls_.transport_set_ptr(session_, this);
  tls_.transport_set_push_function(session_, push);
  tls_.transport_set_pull_function(session_, pull);
}

TlsSession::~TlsSession() { tls_.deinit(session_); }

void TlsSession::gather(std::span<const std::byte> bytes) {
  if (bytes.size() > kOutgoingBytes - outgoing_bytes_) send_gathered();
  if (bytes.size() > kOutgoingBytes) return wire_.send(bytes);
  std::memcpy(outgoing_.get() + outgoing_bytes_, bytes.data(), bytes.size());
  outgoing_bytes_ += bytes.size();
}

void TlsSession::send_gathered() {
  const std::size_t count = std::exchange(outgoing_bytes_, 0);
  if (count > 0) wire_.send({outgoing_.get(), count});
}

ssize_t TlsSession::push(gnutls_transport_ptr_t self, const void* bytes, std::size_t count) {
  auto& session = *static_cast<TlsSession*>(self);
  const std::span from{static_cast<const std::byte*>(bytes), count};
  try {
    if (session.gathers_) {
      session.gather(from);
    } else {
      session.wire_.send(from);
    }
    return static_cast<ssize_t>(count);
  } catch (...) {
    session.push_failure_ = std::current_exception();
    session.tls_.transport_set_errno(session.session_, EIO);
    return -1;
  }
}

ssize_t TlsSession::pull(gnutls_transport_ptr_t self, void* bytes, std::size_t count) {
  auto& session = *static_cast<TlsSession*>(self);
  if (session.received_begin_ == session.received_end_) {
    if (!session.may_wait_) {
      session.tls_.transport_set_errno(session.session_, EAGAIN);
      return -1;
    }
    try {
      const auto received = session.wire_.receive({session.received_.get(), kReceivedBytes});
      if (!received) {
        session.tls_.transport_set_errno(session.session_, EAGAIN);
        return -1;
      }
      session.received_begin_ = 0;
      session.received_end_ = *received;
    } catch (...) {
      session.pull_failure_ = std::current_exception();
      session.tls_.transport_set_errno(session.session_, EIO);
      return -1;
    }
  }
  count = std::min(count, session.received_end_ - session.received_begin_);
  std::memcpy(bytes, session.received_.get() + session.received_begin_, count);
  session.received_begin_ += count;
  return static_cast<ssize_t>(count);
}

void TlsSession::fail(std::exception_ptr& reason, const char* operation, ssize_t result) const {
  if (reason) std::rethrow_exception(std::exchange(reason, nullptr));
  throw Error(std::make_error_code(std::errc::protocol_error),
              fmt::format("TLS {} failed: {}", operation, tls_.strerror(static_cast<int>(result))));
}

void TlsSession::shake_hands() {
  int result = 0;
  do {
    result = tls_.handshake(session_);
  } while (result < 0 && tls_.error_is_fatal(result) == 0);
  // Who is refused may only see that the other side has gone.
  std::exception_ptr none;
  if (result < 0) fail(none, "handshake", result);
}

void TlsSession::ask_for(const std::string& hostname) {
  std::array<std::byte, sizeof(in6_addr)> address;
  const bool is_address = ::inet_pton(AF_INET, hostname.c_str(), address.data()) == 1 ||
                          ::inet_pton(AF_INET6, hostname.c_str(), address.data()) == 1;
  if (is_address || hostname.empty()) return;  // the extension has no place for them
  tls_.server_name_set(session_, GNUTLS_NAME_DNS, hostname.data(), hostname.size());
}

std::optional<std::size_t> TlsSession::receive(std::span<std::byte> into) {
  for (std::size_t filled = 0;;) {
    const std::span room = into.subspan(filled);
    if (room.empty()) return filled;
    may_wait_ = filled == 0;
    const ssize_t result = tls_.record_recv(session_, room.data(), room.size());
    if (result > 0) {
      filled += static_cast<std::size_t>(result);
      continue;
    }
    // The end, or what is wrong, will be met again.
    if (filled > 0) return filled;
    if (result == 0) return 0;
    if (result == GNUTLS_E_AGAIN) return std::nullopt;
    // Who just hangs up is as welcome here as where nothing is encrypted.
    if (result == GNUTLS_E_PREMATURE_TERMINATION) return 0;
    if (tls_.error_is_fatal(static_cast<int>(result)) != 0) fail(pull_failure_, "receive", result);
  }
}

bool TlsSession::has_received() const noexcept {
  return received_begin_ != received_end_ || tls_.record_check_pending(session_) > 0;
}

void TlsSession::send_record(std::span<const std::byte> plain) {
  while (!plain.empty()) {
    const ssize_t result = tls_.record_send(session_, plain.data(), plain.size());
    if (result < 0) {
      if (tls_.error_is_fatal(static_cast<int>(result)) == 0) continue;
      fail(push_failure_, "send", result);
    }
    plain = plain.subspan(static_cast<std::size_t>(result));
  }
}

void TlsSession::send(std::span<const iovec> from) {
  gathers_ = true;
  for (const iovec& buffer : from) {
    std::span bytes{static_cast<const std::byte*>(buffer.iov_base), buffer.iov_len};
    while (!bytes.empty()) {
      // Whole records come from where they are; what is less is put together.
      if (record_bytes_ == 0 && bytes.size() >= kRecordBytes) {
        send_record(bytes.first(kRecordBytes));
        bytes = bytes.subspan(kRecordBytes);
        continue;
      }
      const std::size_t count = std::min(bytes.size(), kRecordBytes - record_bytes_);
      std::memcpy(record_.get() + record_bytes_, bytes.data(), count);
      record_bytes_ += count;
      bytes = bytes.subspan(count);
      if (record_bytes_ == kRecordBytes) {
        send_record({record_.get(), std::exchange(record_bytes_, 0)});
      }
    }
  }
  send_record({record_.get(), std::exchange(record_bytes_, 0)});
  send_gathered();
  gathers_ = false;
}

void TlsSession::say_goodbye() {
  const int result = tls_.bye(session_, GNUTLS_SHUT_WR);
  if (result < 0 && tls_.error_is_fatal(result) != 0) fail(push_failure_, "goodbye", result);
}

}  // namespace qcowkit
