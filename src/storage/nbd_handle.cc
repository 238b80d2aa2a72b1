// What all uses of a handle of libnbd share: its errors, and how it is connected.
#include "storage/nbd_handle.h"

#include <fmt/core.h>

#include <cerrno>
#include <string>

namespace qcowkit {

namespace {

void set_tls(const NbdLibrary& nbd, nbd_handle* handle, const NbdClientTls& tls) {
  require_nbd(nbd, nbd.set_tls(handle, LIBNBD_TLS_REQUIRE));
  if (!tls.psk_file.empty()) {
    require_nbd(nbd, nbd.set_tls_psk_file(handle, tls.psk_file.c_str()));
  } else {
    if (!tls.certificates_directory.empty()) {
      require_nbd(nbd, nbd.set_tls_certificates(handle, tls.certificates_directory.c_str()));
    }
    require_nbd(nbd, nbd.set_tls_verify_peer(handle, tls.verify_peer));
  }
  if (!tls.username.empty()) {
    require_nbd(nbd, nbd.set_tls_username(handle, tls.username.c_str()));
  }
}

}  // namespace

Error last_nbd_error(const NbdLibrary& nbd) {
  const int code = nbd.get_errno();
  const char* const text = nbd.get_error();
  const std::string message = text != nullptr ? text : "unknown error of libnbd";
  if (code == 0) return Error(Errc::invalid_argument, message);
  return Error(std::error_code(code, std::generic_category()), message);
}

void require_nbd(const NbdLibrary& nbd, int result) {
  if (result < 0) throw last_nbd_error(nbd);
}

void connect_to_server(const NbdLibrary& nbd, nbd_handle* handle, const NbdClientOptions& options) {
  if (options.tls) set_tls(nbd, handle, *options.tls);
  const bool is_unix = !options.socket_path.empty();
  const int result = is_unix ? nbd.connect_unix(handle, options.socket_path.c_str())
                             : nbd.connect_tcp(handle, options.host.c_str(), options.port.c_str());
  if (result == 0) return;
  const int code = nbd.get_errno();
  if (code == ENOENT || code == ECONNREFUSED || code == EACCES || code == ETIMEDOUT) {
    throw os_error(code, fmt::format("Failed to connect to '{}'",
                                     is_unix ? options.socket_path
                                             : fmt::format("{}:{}", options.host, options.port)));
  }
  throw last_nbd_error(nbd);
}

}  // namespace qcowkit
