// What all uses of a handle of libnbd share: its errors, and how it is connected.
#include "storage/nbd_handle.h"

#include <string>

#include "storage/nbd_address.h"

namespace qcowkit {

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

std::unique_ptr<NbdTlsRelay> connect_to_server(const NbdLibrary& nbd, nbd_handle* handle,
                                               const NbdClientOptions& options) {
  std::unique_ptr<NbdTlsRelay> relay;
  int socket = -1;
  if (options.tls) {
    relay = connect_with_tls(options);
    socket = relay->take_socket();
  } else {
    socket = connect_to_address(options);
  }
  require_nbd(nbd, nbd.connect_socket(handle, socket));
  return relay;
}

}  // namespace qcowkit
