// Part of qcowkit. MIT licence; see LICENSE.
//
// What encrypts the connections of an NBD server (TLS), and finds out who its clients are.
//
//   NbdServerOptions options;
//   options.tls = make_nbd_tls({.directory = "/etc/pki/qcow"});
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "qcowkit/nbd.h"

namespace qcowkit {

/// What a server proves who it is with, and what it asks of its clients.
struct NbdTlsOptions {
  /// Certificates: "ca-cert.pem", "server-cert.pem", "server-key.pem" and, if it is there,
  /// "ca-crl.pem" (all PEM) are in here. Pre-shared keys: "keys.psk", lines of "NAME:KEY" with the
  /// key in hexadecimal, as psktool(1) makes it.
  std::string directory = {};
  bool uses_psk = false;
  /// Nobody proves who they are, and nothing is loaded but, if it is there, "dh-params.pem".
  bool is_anonymous = false;
  std::string key_password = {};  ///< of an encrypted "server-key.pem"
  /// Certificates: clients have to show one that the authority in "ca-cert.pem" has signed.
  bool verify_peer = true;
  /// Which protocol versions and ciphers are allowed, in GnuTLS's words; empty: "NORMAL". What
  /// pre-shared keys and anonymous clients need is added.
  std::string priority = {};
  /// Asked about each client by the distinguished name of its certificate ("CN=laptop,O=Example
  /// Org") or the name of its key, which are empty where it need not prove who it is; false sends
  /// it away. Called on the threads of the connections. Empty: everybody is let in.
  std::function<bool(const std::string& identity)> authorise = {};
};

/// Loads the credentials. Throws `Error`: the errno of a file that cannot be read,
/// `Errc::invalid_argument` for one whose content makes no sense, `Errc::unsupported` where GnuTLS
/// is not installed (it is loaded by this call).
std::shared_ptr<NbdTls> make_nbd_tls(const NbdTlsOptions& options);

}  // namespace qcowkit
