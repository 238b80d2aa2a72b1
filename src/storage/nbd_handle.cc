// What all uses of a handle of libnbd share: its errors, and how it is connected.
#include "storage/nbd_handle.h"

#include <string>

namespace qcowkit {

namespace {

void set_tls(const NbdLibrary& nbd, nbd_handle* handle, const NbdClientTls& tls) {
  require_nbd(nbd, nbd.set_tls(handle, LIBNBD_TLS_REQUIRE));
  if (tls.uses_psk) {
    require_nbd(nbd, nbd.set_tls_psk_file(handle, (tls.directory + "/keys.psk").c_str()));
  } else {
    require_nbd(nbd, nbd.set_tls_certificates(handle, tls.directory.c_str()));
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
  require_nbd(nbd, options.socket_path.empty()
                       ? nbd.connect_tcp(handle, options.host.c_str(), options.port.c_str())
                       : nbd.connect_unix(handle, options.socket_path.c_str()));
}

}  // namespace qcowkit
