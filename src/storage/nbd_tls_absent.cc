// What TLS is to the driver "nbd" in a build without GnuTLS.
#include "qcowkit/error.h"
#include "storage/nbd_tls_relay.h"

namespace qcowkit {

std::unique_ptr<NbdTlsRelay> connect_with_tls(const NbdClientOptions& /*options*/) {
  throw Error(Errc::unsupported, "this build of qcowkit has no TLS");
}

}  // namespace qcowkit
