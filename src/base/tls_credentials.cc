// What one side of TLS proves itself with, and asks of the other.
#include "base/tls_credentials.h"

#include <fmt/core.h>
#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <fstream>
#include <iterator>

#include "qcowkit/error.h"

namespace qcowkit {

namespace {

constexpr std::size_t kNameBytesMax = 4096;

bool is_there(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

std::string readable(std::string path) {
  if (::access(path.c_str(), R_OK) == 0) return path;
  throw os_error(errno, fmt::format("Unable to access credentials {}", path));
}

Error refusal(const std::string& why) {
  return {std::make_error_code(std::errc::permission_denied), why};
}

std::string read_text(const std::string& path) {
  std::ifstream stream(path);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// Groups for Diffie-Hellman that the administrator has chosen, if there is a file of them.
class DhParameters {
 public:
  DhParameters(const TlsLibrary& tls, const std::string& directory) : tls_(tls) {
    const std::string path = directory + "/dh-params.pem";
    if (directory.empty() || !is_there(path)) return;
    std::string text = read_text(path);
    const gnutls_datum_t pem{reinterpret_cast<unsigned char*>(text.data()),
                             static_cast<unsigned>(text.size())};
    int result = tls.dh_params_init(&parameters_);
    if (result >= 0) {
      result = tls.dh_params_import_pkcs3(parameters_, &pem, GNUTLS_X509_FMT_PEM);
    }
    if (result >= 0) return;
    if (parameters_ != nullptr) tls.dh_params_deinit(parameters_);
    throw Error(Errc::invalid_argument, fmt::format("{}: {}", path, tls.strerror(result)));
  }
  ~DhParameters() {
    if (parameters_ != nullptr) tls_.dh_params_deinit(parameters_);
  }
  DhParameters(const DhParameters&) = delete;
  DhParameters& operator=(const DhParameters&) = delete;

  /// Null: none.
  gnutls_dh_params_t get() const noexcept { return parameters_; }

 private:
  const TlsLibrary& tls_;
  gnutls_dh_params_t parameters_ = nullptr;
};

/// The other side's certificate.
class PeerCertificate {
 public:
  PeerCertificate(const TlsLibrary& tls, gnutls_session_t session) : tls_(tls) {
    unsigned count = 0;
    const gnutls_datum_t* const chain = tls.certificate_get_peers(session, &count);
    if (chain == nullptr || count == 0) throw refusal("No certificate peers");
    int result = tls.x509_crt_init(&certificate_);
    if (result >= 0) result = tls.x509_crt_import(certificate_, chain, GNUTLS_X509_FMT_DER);
    if (result >= 0) return;
    if (certificate_ != nullptr) tls.x509_crt_deinit(certificate_);
    throw refusal(fmt::format("TLS: certificate: {}", tls.strerror(result)));
  }
  ~PeerCertificate() { tls_.x509_crt_deinit(certificate_); }
  PeerCertificate(const PeerCertificate&) = delete;
  PeerCertificate& operator=(const PeerCertificate&) = delete;

  std::string distinguished_name() const {
    std::array<char, kNameBytesMax> name{};
    std::size_t size = name.size();
    const int result = tls_.x509_crt_get_dn(certificate_, name.data(), &size);
    if (result < 0) throw refusal(fmt::format("TLS: certificate: {}", tls_.strerror(result)));
    return {name.data(), size};
  }
  bool names(const std::string& host) const {
    return tls_.x509_crt_check_hostname(certificate_, host.c_str()) != 0;
  }

 private:
  const TlsLibrary& tls_;
  gnutls_x509_crt_t certificate_ = nullptr;
};

class Certificates final : public TlsCredentials {
 public:
  Certificates(const TlsLibrary& tls, const TlsCredentialOptions& options)
      : TlsCredentials(tls, options, ""),
        is_server_(options.side == TlsSide::server),
        verify_peer_(options.verify_peer),
        dh_parameters_(tls, is_server_ ? options.directory : "") {
    require(tls.certificate_allocate_credentials(&credentials_), "TLS");
    try {
      load_authorities(options.directory);
      load_own(options);
    } catch (...) {
      tls.certificate_free_credentials(credentials_);
      throw;
    }
  }
  ~Certificates() override { tls_.certificate_free_credentials(credentials_); }

  void equip(gnutls_session_t session) const override {
    require(tls_.credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials_), "TLS");
    if (!is_server_) return;
    tls_.certificate_server_set_request(session,
                                        verify_peer_ ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
  }

  std::optional<std::string> identify_client(gnutls_session_t session) const override {
    if (!verify_peer_) return std::nullopt;
    require_trusted(session);
    return PeerCertificate(tls_, session).distinguished_name();
  }

  void verify_server(gnutls_session_t session,
                     const std::optional<std::string>& hostname) const override {
    if (!verify_peer_) return;
    require_trusted(session);
    if (!hostname) throw refusal("No hostname for certificate validation");
    if (PeerCertificate(tls_, session).names(*hostname)) return;
    throw refusal(fmt::format("Certificate does not match the hostname {}", *hostname));
  }

 private:
  void load_authorities(const std::string& directory) {
    if (directory.empty()) {
      require(tls_.certificate_set_x509_system_trust(credentials_), "the system's authorities");
      return;
    }
    const std::string authority = readable(directory + "/ca-cert.pem");
    require(
        tls_.certificate_set_x509_trust_file(credentials_, authority.c_str(), GNUTLS_X509_FMT_PEM),
        authority);
    const std::string revoked = directory + "/ca-crl.pem";
    if (!is_there(revoked)) return;
    require(tls_.certificate_set_x509_crl_file(credentials_, revoked.c_str(), GNUTLS_X509_FMT_PEM),
            revoked);
  }

  void load_own(const TlsCredentialOptions& options) {
    const std::string prefix = options.directory + (is_server_ ? "/server-" : "/client-");
    if (!is_server_ && !(is_there(prefix + "cert.pem") && is_there(prefix + "key.pem"))) return;
    const std::string certificate = readable(prefix + "cert.pem");
    const std::string key = readable(prefix + "key.pem");
    const char* const password =
        options.key_password.empty() ? nullptr : options.key_password.c_str();
    require(tls_.certificate_set_x509_key_file2(credentials_, certificate.c_str(), key.c_str(),
                                                GNUTLS_X509_FMT_PEM, password, 0),
            certificate);
    if (!is_server_) return;
    if (dh_parameters_.get() != nullptr) {
      tls_.certificate_set_dh_params(credentials_, dh_parameters_.get());
    } else {
      tls_.certificate_set_known_dh_params(credentials_, GNUTLS_SEC_PARAM_MEDIUM);
    }
  }

  void require_trusted(gnutls_session_t session) const {
    unsigned status = 0;
    require(tls_.certificate_verify_peers2(session, &status), "TLS: certificate");
    if (status == 0) return;
    struct Reason {
      unsigned bit;
      const char* text;
    };
    constexpr std::array kReasons = {
        Reason{GNUTLS_CERT_SIGNER_NOT_FOUND, "The certificate hasn't got a known issuer"},
        Reason{GNUTLS_CERT_REVOKED, "The certificate has been revoked"},
        Reason{GNUTLS_CERT_EXPIRED, "The certificate has expired"},
        Reason{GNUTLS_CERT_NOT_ACTIVATED, "The certificate is not yet activated"},
        Reason{GNUTLS_CERT_INSECURE_ALGORITHM, "The certificate uses an insecure algorithm"},
    };
    const auto reason = std::find_if(kReasons.begin(), kReasons.end(),
                                     [&](const Reason& r) { return (status & r.bit) != 0; });
    throw refusal(reason != kReasons.end() ? reason->text : "The certificate is not trusted");
  }

  const bool is_server_;
  const bool verify_peer_;
  const DhParameters dh_parameters_;
  gnutls_certificate_credentials_t credentials_ = nullptr;
};

/// What only certificates can do, the others need not.
class WithoutCertificates : public TlsCredentials {
 public:
  using TlsCredentials::TlsCredentials;
  std::optional<std::string> identify_client(gnutls_session_t /*session*/) const override {
    return std::nullopt;
  }
  void verify_server(gnutls_session_t /*session*/,
                     const std::optional<std::string>& /*hostname*/) const override {}
};

constexpr const char* kPskNeeds = ":+ECDHE-PSK:+DHE-PSK:+PSK";
constexpr const char* kAnonymousNeeds = ":+ANON-DH";

class ServerKeys final : public WithoutCertificates {
 public:
  ServerKeys(const TlsLibrary& tls, const TlsCredentialOptions& options)
      : WithoutCertificates(tls, options, kPskNeeds), dh_parameters_(tls, options.directory) {
    const std::string keys = readable(options.psk_file);
    require(tls.psk_allocate_server_credentials(&credentials_), "TLS");
    const int result = tls.psk_set_server_credentials_file(credentials_, keys.c_str());
    if (result < 0) tls.psk_free_server_credentials(credentials_);
    require(result, keys);
    if (dh_parameters_.get() != nullptr) {
      tls.psk_set_server_dh_params(credentials_, dh_parameters_.get());
    } else {
      tls.psk_set_server_known_dh_params(credentials_, GNUTLS_SEC_PARAM_MEDIUM);
    }
  }
  ~ServerKeys() override { tls_.psk_free_server_credentials(credentials_); }

  void equip(gnutls_session_t session) const override {
    require(tls_.credentials_set(session, GNUTLS_CRD_PSK, credentials_), "TLS");
  }
  std::optional<std::string> identify_client(gnutls_session_t session) const override {
    const char* const name = tls_.psk_server_get_username(session);
    return name != nullptr ? name : "";
  }

 private:
  const DhParameters dh_parameters_;
  gnutls_psk_server_credentials_t credentials_ = nullptr;
};

class ClientKey final : public WithoutCertificates {
 public:
  ClientKey(const TlsLibrary& tls, const TlsCredentialOptions& options)
      : WithoutCertificates(tls, options, kPskNeeds) {
    std::string user = options.username;
    std::string key = find_key(readable(options.psk_file), user);
    const gnutls_datum_t datum{reinterpret_cast<unsigned char*>(key.data()),
                               static_cast<unsigned>(key.size())};
    require(tls.psk_allocate_client_credentials(&credentials_), "TLS");
    const int result =
        tls.psk_set_client_credentials(credentials_, user.c_str(), &datum, GNUTLS_PSK_KEY_HEX);
    explicit_bzero(key.data(), key.size());
    if (result < 0) tls.psk_free_client_credentials(credentials_);
    require(result, options.psk_file);
  }
  ~ClientKey() override { tls_.psk_free_client_credentials(credentials_); }

  void equip(gnutls_session_t session) const override {
    require(tls_.credentials_set(session, GNUTLS_CRD_PSK, credentials_), "TLS");
  }

 private:
  /// Sets `user` where it is empty.
  static std::string find_key(const std::string& file, std::string& user) {
    std::ifstream stream(file);
    for (std::string line; std::getline(stream, line);) {
      const std::size_t colon = line.find(':');
      if (colon == line.npos || (!user.empty() && line.compare(0, colon, user) != 0)) continue;
      if (user.empty()) user = line.substr(0, colon);
      std::string key = line.substr(colon + 1);
      while (!key.empty() && std::isspace(static_cast<unsigned char>(key.back())) != 0) {
        key.pop_back();
      }
      return key;
    }
    throw Error(Errc::invalid_argument,
                fmt::format("Username {} not found in PSK file {}", user, file));
  }

  gnutls_psk_client_credentials_t credentials_ = nullptr;
};

class AnonymousServer final : public WithoutCertificates {
 public:
  AnonymousServer(const TlsLibrary& tls, const TlsCredentialOptions& options)
      : WithoutCertificates(tls, options, kAnonymousNeeds), dh_parameters_(tls, options.directory) {
    require(tls.anon_allocate_server_credentials(&credentials_), "TLS");
    if (dh_parameters_.get() != nullptr) {
      tls.anon_set_server_dh_params(credentials_, dh_parameters_.get());
    } else {
      tls.anon_set_server_known_dh_params(credentials_, GNUTLS_SEC_PARAM_MEDIUM);
    }
  }
  ~AnonymousServer() override { tls_.anon_free_server_credentials(credentials_); }

  void equip(gnutls_session_t session) const override {
    require(tls_.credentials_set(session, GNUTLS_CRD_ANON, credentials_), "TLS");
  }

 private:
  const DhParameters dh_parameters_;
  gnutls_anon_server_credentials_t credentials_ = nullptr;
};

class AnonymousClient final : public WithoutCertificates {
 public:
  AnonymousClient(const TlsLibrary& tls, const TlsCredentialOptions& options)
      : WithoutCertificates(tls, options, kAnonymousNeeds) {
    require(tls.anon_allocate_client_credentials(&credentials_), "TLS");
  }
  ~AnonymousClient() override { tls_.anon_free_client_credentials(credentials_); }

  void equip(gnutls_session_t session) const override {
    require(tls_.credentials_set(session, GNUTLS_CRD_ANON, credentials_), "TLS");
  }

 private:
  gnutls_anon_client_credentials_t credentials_ = nullptr;
};

}  // namespace

TlsCredentials::TlsCredentials(const TlsLibrary& tls, const TlsCredentialOptions& options,
                               const char* needed)
    : tls_(tls), priority_((options.priority.empty() ? "NORMAL" : options.priority) + needed) {}

void TlsCredentials::require(int result, const std::string& what) const {
  if (result >= 0) return;
  throw Error(Errc::invalid_argument, fmt::format("{}: {}", what, tls_.strerror(result)));
}

std::unique_ptr<TlsCredentials> TlsCredentials::load(const TlsCredentialOptions& options) {
  const TlsLibrary& tls = TlsLibrary::get();
  const bool is_server = options.side == TlsSide::server;
  switch (options.kind) {
    case TlsCredentialOptions::Kind::preshared_keys:
      if (is_server) return std::make_unique<ServerKeys>(tls, options);
      return std::make_unique<ClientKey>(tls, options);
    case TlsCredentialOptions::Kind::anonymous:
      if (is_server) return std::make_unique<AnonymousServer>(tls, options);
      return std::make_unique<AnonymousClient>(tls, options);
    case TlsCredentialOptions::Kind::certificates:
      break;
  }
  return std::make_unique<Certificates>(tls, options);
}

}  // namespace qcowkit
