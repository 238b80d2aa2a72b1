// What encrypts an NBD server's connections: its credentials, and who is let in.
#include <fmt/core.h>

#include <utility>

#include "base/tls_credentials.h"
#include "export/nbd/tls_transport.h"
#include "qcowkit/nbd_tls.h"

namespace qcowkit::nbd {

namespace {

TlsCredentialOptions credential_options(const NbdTlsOptions& options) {
  TlsCredentialOptions credentials;
  credentials.side = TlsSide::server;
  credentials.directory = options.directory;
  if (options.is_anonymous) {
    credentials.kind = TlsCredentialOptions::Kind::anonymous;
  } else if (options.uses_psk) {
    credentials.kind = TlsCredentialOptions::Kind::preshared_keys;
    credentials.psk_file = options.directory + "/keys.psk";
  }
  credentials.key_password = options.key_password;
  credentials.verify_peer = options.verify_peer;
  credentials.priority = options.priority;
  return credentials;
}

class ServerTls final : public NbdTls {
 public:
  explicit ServerTls(const NbdTlsOptions& options)
      : credentials_(TlsCredentials::load(credential_options(options))),
        authorise_(options.authorise) {}

  std::unique_ptr<NbdTransport> accept(std::shared_ptr<NbdTransport> plain) override {
    auto transport = std::make_unique<TlsTransport>(std::move(plain), credentials_->priority());
    TlsSession& session = transport->session();
    credentials_->equip(session.handle());
    session.shake_hands();
    const std::string identity =
        credentials_->identify_client(session.handle()).value_or(std::string());
    if (authorise_ && !authorise_(identity)) {
      throw Error(std::make_error_code(std::errc::permission_denied),
                  fmt::format("'{}' is not let in", identity));
    }
    return transport;
  }

 private:
  const std::unique_ptr<TlsCredentials> credentials_;
  const std::function<bool(const std::string&)> authorise_;
};

}  // namespace

}  // namespace qcowkit::nbd

namespace qcowkit {

std::shared_ptr<NbdTls> make_nbd_tls(const NbdTlsOptions& options) {
  return std::make_shared<nbd::ServerTls>(options);
}

}  // namespace qcowkit
