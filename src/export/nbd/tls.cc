// What encrypts an NBD server's connections: its credentials, and who is let in.
#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "export/nbd/tls_session.h"
#include "qcowkit/nbd_tls.h"

namespace qcowkit::nbd {

namespace {

constexpr const char* kPriority = "NORMAL";
constexpr const char* kPskPriority = "NORMAL:+ECDHE-PSK:+DHE-PSK:+PSK";
constexpr std::size_t kNameBytesMax = 4096;

std::string readable_file(const std::string& directory, const char* name) {
  std::string path = directory + "/" + name;
  if (::access(path.c_str(), R_OK) != 0) {
    throw os_error(errno, fmt::format("Unable to access credentials {}", path));
  }
  return path;
}

class Credentials {
 public:
  explicit Credentials(const TlsLibrary& tls) : tls_(tls) {}
  virtual ~Credentials() = default;
  Credentials(const Credentials&) = delete;
  Credentials& operator=(const Credentials&) = delete;

  /// Before the handshake: what the session proves itself with, and asks of the client.
  virtual void equip(gnutls_session_t session) const = 0;
  /// After it: who the client is. Throws `Error` if it could not prove that; nothing if it need
  /// not.
  virtual std::optional<std::string> identify(gnutls_session_t session) const = 0;

 protected:
  void require(int result, const std::string& what) const {
    if (result >= 0) return;
    throw Error(Errc::invalid_argument, fmt::format("{}: {}", what, tls_.strerror(result)));
  }
  const TlsLibrary& tls_;
};

class Certificates final : public Credentials {
 public:
  Certificates(const TlsLibrary& tls, const NbdTlsOptions& options)
      : Credentials(tls), verify_peer_(options.verify_peer) {
    require(tls.certificate_allocate_credentials(&credentials_), "TLS");
    try {
      load(options.directory);
    } catch (...) {
      tls.certificate_free_credentials(credentials_);
      throw;
    }
  }
  ~Certificates() override { tls_.certificate_free_credentials(credentials_); }

  void equip(gnutls_session_t session) const override {
    require(tls_.credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials_), "TLS");
    tls_.certificate_server_set_request(session,
                                        verify_peer_ ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
  }

  std::optional<std::string> identify(gnutls_session_t session) const override {
    if (!verify_peer_) return std::nullopt;
    unsigned status = 0;
    require(tls_.certificate_verify_peers2(session, &status), "the client's certificate");
    if (status != 0) {
      throw Error(
          std::make_error_code(std::errc::permission_denied),
          fmt::format("the client's certificate is not trusted (GnuTLS status {:#x})", status));
    }
    return distinguished_name(session);
  }

 private:
  void load(const std::string& directory) {
    const std::string authority = readable_file(directory, "ca-cert.pem");
    require(
        tls_.certificate_set_x509_trust_file(credentials_, authority.c_str(), GNUTLS_X509_FMT_PEM),
        authority);
    const std::string certificate = readable_file(directory, "server-cert.pem");
    const std::string key = readable_file(directory, "server-key.pem");
    require(tls_.certificate_set_x509_key_file(credentials_, certificate.c_str(), key.c_str(),
                                               GNUTLS_X509_FMT_PEM),
            certificate);
    const std::string revoked = directory + "/ca-crl.pem";
    if (::access(revoked.c_str(), F_OK) == 0) {
      require(
          tls_.certificate_set_x509_crl_file(credentials_, revoked.c_str(), GNUTLS_X509_FMT_PEM),
          revoked);
    }
    tls_.certificate_set_known_dh_params(credentials_, GNUTLS_SEC_PARAM_MEDIUM);
  }

  std::string distinguished_name(gnutls_session_t session) const {
    unsigned count = 0;
    const gnutls_datum_t* const chain = tls_.certificate_get_peers(session, &count);
    if (chain == nullptr || count == 0) {
      throw Error(std::make_error_code(std::errc::permission_denied),
                  "the client shows no certificate");
    }
    gnutls_x509_crt_t certificate = nullptr;
    require(tls_.x509_crt_init(&certificate), "TLS");
    std::array<char, kNameBytesMax> name{};
    std::size_t size = name.size();
    int result = tls_.x509_crt_import(certificate, chain, GNUTLS_X509_FMT_DER);
    if (result >= 0) result = tls_.x509_crt_get_dn(certificate, name.data(), &size);
    tls_.x509_crt_deinit(certificate);
    require(result, "the client's certificate");
    return {name.data(), size};
  }

  const bool verify_peer_;
  gnutls_certificate_credentials_t credentials_ = nullptr;
};

class PresharedKeys final : public Credentials {
 public:
  PresharedKeys(const TlsLibrary& tls, const NbdTlsOptions& options) : Credentials(tls) {
    const std::string keys = readable_file(options.directory, "keys.psk");
    require(tls.psk_allocate_server_credentials(&credentials_), "TLS");
    const int result = tls.psk_set_server_credentials_file(credentials_, keys.c_str());
    if (result < 0) tls.psk_free_server_credentials(credentials_);
    require(result, keys);
    tls.psk_set_server_known_dh_params(credentials_, GNUTLS_SEC_PARAM_MEDIUM);
  }
  ~PresharedKeys() override { tls_.psk_free_server_credentials(credentials_); }

  void equip(gnutls_session_t session) const override {
    require(tls_.credentials_set(session, GNUTLS_CRD_PSK, credentials_), "TLS");
  }
  std::optional<std::string> identify(gnutls_session_t session) const override {
    const char* const name = tls_.psk_server_get_username(session);
    return name != nullptr ? name : "";
  }

 private:
  gnutls_psk_server_credentials_t credentials_ = nullptr;
};

std::unique_ptr<Credentials> make_credentials(const TlsLibrary& tls, const NbdTlsOptions& options) {
  if (options.uses_psk) return std::make_unique<PresharedKeys>(tls, options);
  return std::make_unique<Certificates>(tls, options);
}

class ServerTls final : public NbdTls {
 public:
  explicit ServerTls(const NbdTlsOptions& options)
      : credentials_(make_credentials(TlsLibrary::get(), options)),
        priority_(!options.priority.empty() ? options.priority
                  : options.uses_psk        ? kPskPriority
                                            : kPriority),
        authorise_(options.authorise) {}

  std::unique_ptr<NbdTransport> accept(std::shared_ptr<NbdTransport> plain) override {
    auto session = std::make_unique<TlsSession>(std::move(plain), priority_);
    credentials_->equip(session->handle());
    session->shake_hands();
    const std::optional<std::string> identity = credentials_->identify(session->handle());
    if (authorise_ && !authorise_(identity.value_or(""))) {
      throw Error(std::make_error_code(std::errc::permission_denied),
                  fmt::format("'{}' is not let in", identity.value_or("")));
    }
    return session;
  }

 private:
  const std::unique_ptr<Credentials> credentials_;
  const std::string priority_;
  const std::function<bool(const std::string&)> authorise_;
};

}  // namespace

}  // namespace qcowkit::nbd

namespace qcowkit {

std::shared_ptr<NbdTls> make_nbd_tls(const NbdTlsOptions& options) {
  return std::make_shared<nbd::ServerTls>(options);
}

}  // namespace qcowkit
