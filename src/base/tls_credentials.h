// What one side of TLS proves itself with, and asks of the other.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/tls_session.h"

namespace qcowkit {

struct TlsCredentialOptions {
  enum class Kind { certificates, preshared_keys, anonymous };

  TlsSide side = TlsSide::client;
  Kind kind = Kind::certificates;
  /// Certificates: "ca-cert.pem", "ca-crl.pem" if it is there, and "server-cert.pem" with
  /// "server-key.pem", or of a client that has one "client-cert.pem" with "client-key.pem". Without
  /// a directory, a client trusts the authorities that the system does. Of a server,
  /// "dh-params.pem" in it counts if it is there.
  std::string directory = {};
  std::string psk_file = {};      ///< lines of "NAME:KEY", the key in hexadecimal
  std::string username = {};      ///< of a client's pre-shared key; empty: the file's first
  std::string key_password = {};  ///< of an encrypted key of a certificate
  bool verify_peer = true;        ///< the other side's certificate is asked for and looked at
  std::string priority = {};      ///< in GnuTLS's words; empty: "NORMAL"
};

/// Thread-safe: any number of sessions use one at a time.
class TlsCredentials {
 public:
  /// Loads what is needed. Throws `Error`: the errno of a file that cannot be read,
  /// `Errc::invalid_argument` for one whose content makes no sense, `Errc::unsupported` where
  /// GnuTLS is not installed.
  static std::unique_ptr<TlsCredentials> load(const TlsCredentialOptions& options);

  virtual ~TlsCredentials() = default;
  TlsCredentials(const TlsCredentials&) = delete;
  TlsCredentials& operator=(const TlsCredentials&) = delete;

  /// For a new session.
  const std::string& priority() const noexcept { return priority_; }
  /// Before the handshake.
  virtual void equip(gnutls_session_t session) const = 0;
  /// After it, on a server: who the client is, if it had to prove that. Throws `Error` if it could
  /// not.
  virtual std::optional<std::string> identify_client(gnutls_session_t session) const = 0;
  /// After it, on a client. Throws `Error` if the server has a certificate that does not prove that
  /// it is `hostname`.
  virtual void verify_server(gnutls_session_t session,
                             const std::optional<std::string>& hostname) const = 0;

 protected:
  /// `needed` is what these credentials add to the priority.
  TlsCredentials(const TlsLibrary& tls, const TlsCredentialOptions& options, const char* needed);
  /// Throws `Error` if `result`, which a function of GnuTLS has returned, says so.
  void require(int result, const std::string& what) const;

  const TlsLibrary& tls_;

 private:
  const std::string priority_;
};

}  // namespace qcowkit
