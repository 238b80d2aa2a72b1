// What TLS is in a build without GnuTLS.
#include "qcowkit/nbd_tls.h"

namespace qcowkit {

std::shared_ptr<NbdTls> make_nbd_tls(const NbdTlsOptions& /*options*/) {
  throw Error(Errc::unsupported, "this build of qcowkit has no TLS");
}

}  // namespace qcowkit
