// A connection to an NBD server that is encrypted on its way.
#pragma once

#include <memory>

#include "qcowkit/nbd_client.h"

namespace qcowkit {

/// Between libnbd and a server that wants TLS. libnbd knows neither anonymous credentials nor
/// another name for the server than its address, nor which ciphers are wanted. So it talks to one
/// end of a pair of sockets as to a server without TLS, and two threads, one for each direction,
/// pass on what arrives at the other end.
class NbdTlsRelay {
 public:
  virtual ~NbdTlsRelay() = default;  ///< ends the connection
  NbdTlsRelay() = default;
  NbdTlsRelay(const NbdTlsRelay&) = delete;
  NbdTlsRelay& operator=(const NbdTlsRelay&) = delete;

  /// The socket for libnbd, which is its to close. Once only.
  virtual int take_socket() = 0;
};

/// Connects as `options` say, with `options.tls`. Throws `Error`: the server cannot be reached or
/// has no TLS, one side does not believe the other; `Errc::unsupported` without GnuTLS.
std::unique_ptr<NbdTlsRelay> connect_with_tls(const NbdClientOptions& options);

}  // namespace qcowkit
