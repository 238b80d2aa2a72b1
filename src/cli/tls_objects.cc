// --object tls-creds-x509, tls-creds-psk, tls-creds-anon: how connections are encrypted.
#include "cli/tls_objects.h"

#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <system_error>

#include "cli/failure.h"
#include "cli/option_values.h"

namespace qcowkit::cli {

namespace {

using Kind = ObjectProperty::Kind;

constexpr std::array kX509Properties = {
    ObjectProperty{"dir"},
    ObjectProperty{"endpoint"},
    ObjectProperty{"passwordid"},
    ObjectProperty{"priority"},
    ObjectProperty{"sanity-check", Kind::boolean},
    ObjectProperty{"verify-peer", Kind::boolean},
};
constexpr std::array<std::string_view, 6> kX509Help = {
    "dir=<string>",        "endpoint=<QCryptoTLSCredsEndpoint>",
    "passwordid=<string>", "priority=<string>",
    "sanity-check=<bool>", "verify-peer=<bool>"};
constexpr std::array kPskProperties = {
    ObjectProperty{"dir"},
    ObjectProperty{"endpoint"},
    ObjectProperty{"priority"},
    ObjectProperty{"username"},
    ObjectProperty{"verify-peer", Kind::boolean},
};
constexpr std::array<std::string_view, 5> kPskHelp = {
    "dir=<string>", "endpoint=<QCryptoTLSCredsEndpoint>", "priority=<string>", "username=<string>",
    "verify-peer=<bool>"};
constexpr std::array kAnonymousProperties = {
    ObjectProperty{"dir"},
    ObjectProperty{"endpoint"},
    ObjectProperty{"priority"},
    ObjectProperty{"verify-peer", Kind::boolean},
};
constexpr std::array<std::string_view, 4> kAnonymousHelp = {
    "dir=<string>", "endpoint=<QCryptoTLSCredsEndpoint>", "priority=<string>",
    "verify-peer=<bool>"};

/// The key that a client shows where it is told no name.
constexpr const char* kPskUserDefault = "qemu";

std::string text_or(const ObjectDefinition& definition, std::string_view name,
                    std::string_view otherwise) {
  const std::string* const text = definition.text(name);
  return text != nullptr ? *text : std::string(otherwise);
}

std::string directory_of(const ObjectDefinition& definition) {
  const std::string* const directory = definition.text("dir");
  if (directory == nullptr) throw Failure("Missing 'dir' property value");
  return *directory;
}

void require_readable(const std::string& path) {
  if (::access(path.c_str(), R_OK) == 0) return;
  throw Failure(fmt::format("Unable to access credentials {}: {}", path,
                            std::generic_category().message(errno)));
}

bool is_psk(const ObjectDefinition& definition) {
  return definition.type() == kPskCredentials.name;
}

bool is_anonymous(const ObjectDefinition& definition) {
  return definition.type() == kAnonymousCredentials.name;
}

void require_user(const std::string& keys, const std::string& user) {
  std::ifstream stream(keys);
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with(user + ':')) return;
  }
  throw Failure(fmt::format("Username {} not found in PSK file {}", user, keys));
}

std::string key_password(const ObjectDefinition& definition, const Secrets& secrets) {
  const std::string* const id = definition.text("passwordid");
  if (id == nullptr) return {};
  const std::span<const std::byte> bytes = find_passphrase(secrets, *id)->bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

constexpr ObjectType kX509Credentials{"tls-creds-x509", kX509Properties, kX509Help};
constexpr ObjectType kPskCredentials{"tls-creds-psk", kPskProperties, kPskHelp};
constexpr ObjectType kAnonymousCredentials{"tls-creds-anon", kAnonymousProperties, kAnonymousHelp};

bool is_for_server(const ObjectDefinition& credentials) {
  const std::string endpoint = text_or(credentials, "endpoint", "client");
  if (endpoint != "client" && endpoint != "server") throw not_accepted("endpoint", endpoint);
  return endpoint == "server";
}

NbdTlsOptions make_server_credentials(const ObjectDefinition& definition, const Secrets& secrets) {
  NbdTlsOptions options;
  options.verify_peer = definition.boolean("verify-peer").value_or(true);
  options.priority = text_or(definition, "priority", "");
  if (is_anonymous(definition)) {
    options.is_anonymous = true;
    options.directory = text_or(definition, "dir", "");
    return options;
  }
  options.directory = directory_of(definition);
  options.uses_psk = is_psk(definition);
  options.key_password = key_password(definition, secrets);
  require_readable(options.directory + (options.uses_psk ? "/keys.psk" : "/ca-cert.pem"));
  return options;
}

NbdClientTls make_client_credentials(const ObjectDefinition& definition, const Secrets& secrets) {
  NbdClientTls tls;
  tls.verify_peer = definition.boolean("verify-peer").value_or(true);
  tls.priority = text_or(definition, "priority", "");
  if (is_anonymous(definition)) {
    tls.is_anonymous = true;
    return tls;
  }
  const std::string directory = directory_of(definition);
  if (is_psk(definition)) {
    tls.psk_file = directory + "/keys.psk";
    tls.username = text_or(definition, "username", kPskUserDefault);
    require_readable(tls.psk_file);
    require_user(tls.psk_file, tls.username);
  } else {
    tls.certificates_directory = directory;
    tls.key_password = key_password(definition, secrets);
    require_readable(directory + "/ca-cert.pem");
  }
  return tls;
}

}  // namespace qcowkit::cli
