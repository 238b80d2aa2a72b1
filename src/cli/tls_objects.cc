// --object tls-creds-x509, tls-creds-psk, authz-simple, authz-listfile: who may talk to whom,
// encrypted.
#include "cli/tls_objects.h"

#include <fmt/core.h>
#include <fnmatch.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "cli/failure.h"
#include "cli/json_text.h"
#include "cli/option_values.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kX509Properties = {
    ObjectProperty{"dir"},          ObjectProperty{"endpoint"},    ObjectProperty{"priority"},
    ObjectProperty{"sanity-check"}, ObjectProperty{"verify-peer"},
};
constexpr std::array<std::string_view, 5> kX509Help = {
    "dir=<string>", "endpoint=<QCryptoTLSCredsEndpoint>", "priority=<string>",
    "sanity-check=<bool>", "verify-peer=<bool>"};
constexpr std::array kPskProperties = {
    ObjectProperty{"dir"},      ObjectProperty{"endpoint"},    ObjectProperty{"priority"},
    ObjectProperty{"username"}, ObjectProperty{"verify-peer"},
};
constexpr std::array<std::string_view, 5> kPskHelp = {
    "dir=<string>", "endpoint=<QCryptoTLSCredsEndpoint>", "priority=<string>", "username=<string>",
    "verify-peer=<bool>"};
constexpr std::array kSimpleProperties = {ObjectProperty{"identity"}};
constexpr std::array<std::string_view, 1> kSimpleHelp = {"identity=<string>"};
constexpr std::array kListProperties = {ObjectProperty{"filename"}, ObjectProperty{"refresh"}};
constexpr std::array<std::string_view, 2> kListHelp = {"filename=<string>", "refresh=<bool>"};

/// The key that a client shows where it is told no name.
constexpr const char* kPskUserDefault = "qemu";

std::string text_or(const ObjectDefinition& definition, std::string_view name,
                    std::string_view otherwise) {
  const std::string* const text = definition.text(name);
  return text != nullptr ? *text : std::string(otherwise);
}

bool boolean_or(const ObjectDefinition& definition, std::string_view name, bool otherwise) {
  const std::string* const text = definition.text(name);
  if (text == nullptr) return otherwise;
  const std::optional<bool> value = parse_boolean(*text);
  if (!value) throw Failure(fmt::format("Parameter '{}' expects 'on' or 'off'", name));
  return *value;
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
  return definition.type() == psk_credentials_type().name;
}

void require_user(const std::string& keys, const std::string& user) {
  std::ifstream stream(keys);
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with(user + ':')) return;
  }
  throw Failure(fmt::format("Username {} not found in PSK file {}", user, keys));
}

/// One line of a list of who is let in.
struct Rule {
  std::string match;
  bool allows = false;
  bool is_pattern = false;  ///< as file names have them
};

bool parse_policy(const Json& json, std::string_view file) {
  const std::string policy = json.is_string() ? json.get<std::string>() : "";
  if (policy == "allow") return true;
  if (policy == "deny") return false;
  throw Failure(fmt::format("{}: a policy is allow or deny", file));
}

struct RuleList {
  std::vector<Rule> rules;
  bool allows_others = false;

  bool lets_in(const std::string& identity) const {
    for (const Rule& rule : rules) {
      const bool matches = rule.is_pattern ? ::fnmatch(rule.match.c_str(), identity.c_str(), 0) == 0
                                           : rule.match == identity;
      if (matches) return rule.allows;
    }
    return allows_others;
  }
};

RuleList read_rules(const std::string& file) {
  std::ifstream stream(file);
  if (!stream) {
    throw Failure(
        fmt::format("Unable to read '{}': {}", file, std::generic_category().message(errno)));
  }
  std::stringstream text;
  text << stream.rdbuf();
  const Json json = Json::parse(text.str(), nullptr, /*allow_exceptions=*/false);
  const bool is_list = json.is_object() && json.contains("rules") && json["rules"].is_array();
  if (!is_list) throw Failure(fmt::format("{}: is no JSON object with a list \"rules\"", file));
  RuleList list;
  if (json.contains("policy")) list.allows_others = parse_policy(json["policy"], file);
  for (const Json& entry : json["rules"]) {
    const bool is_rule = entry.is_object() && entry.contains("match") &&
                         entry["match"].is_string() && entry.contains("policy");
    if (!is_rule) throw Failure(fmt::format("{}: a rule has a \"match\" and a \"policy\"", file));
    const std::string format = entry.value("format", Json("exact")).dump();
    list.rules.push_back({entry["match"].get<std::string>(), parse_policy(entry["policy"], file),
                          format == "\"glob\""});
  }
  return list;
}

}  // namespace

const ObjectType& x509_credentials_type() {
  static constexpr ObjectType kType{"tls-creds-x509", kX509Properties, kX509Help};
  return kType;
}

const ObjectType& psk_credentials_type() {
  static constexpr ObjectType kType{"tls-creds-psk", kPskProperties, kPskHelp};
  return kType;
}

const ObjectType& simple_authorisation_type() {
  static constexpr ObjectType kType{"authz-simple", kSimpleProperties, kSimpleHelp};
  return kType;
}

const ObjectType& list_authorisation_type() {
  static constexpr ObjectType kType{"authz-listfile", kListProperties, kListHelp};
  return kType;
}

bool is_for_server(const ObjectDefinition& credentials) {
  const std::string endpoint = text_or(credentials, "endpoint", "client");
  if (endpoint != "client" && endpoint != "server") throw not_accepted("endpoint", endpoint);
  return endpoint == "server";
}

NbdTlsOptions make_server_credentials(const ObjectDefinition& definition) {
  NbdTlsOptions options;
  options.directory = directory_of(definition);
  options.uses_psk = is_psk(definition);
  options.verify_peer = boolean_or(definition, "verify-peer", true);
  options.priority = text_or(definition, "priority", "");
  require_readable(options.directory + (options.uses_psk ? "/keys.psk" : "/ca-cert.pem"));
  return options;
}

NbdClientTls make_client_credentials(const ObjectDefinition& definition) {
  NbdClientTls tls;
  const std::string directory = directory_of(definition);
  tls.verify_peer = boolean_or(definition, "verify-peer", true);
  if (is_psk(definition)) {
    tls.psk_file = directory + "/keys.psk";
    tls.username = text_or(definition, "username", kPskUserDefault);
    require_readable(tls.psk_file);
    require_user(tls.psk_file, tls.username);
  } else {
    tls.certificates_directory = directory;
    require_readable(directory + "/ca-cert.pem");
  }
  return tls;
}

Authorisation make_authorisation(const ObjectDefinition& definition) {
  const bool is_simple = definition.type() == simple_authorisation_type().name;
  const std::string_view key = is_simple ? "identity" : "filename";
  const std::string* const value = definition.text(key);
  if (value == nullptr) throw Failure(fmt::format("Parameter '{}' is missing", key));
  if (is_simple) {
    return [identity = *value](const std::string& asked) { return asked == identity; };
  }
  // Read anew for each client where it may change.
  if (boolean_or(definition, "refresh", true)) {
    read_rules(*value);
    return [file = *value](const std::string& asked) {
      try {
        return read_rules(file).lets_in(asked);
      } catch (const Failure&) {
        return false;
      }
    };
  }
  return [list = read_rules(*value)](const std::string& asked) { return list.lets_in(asked); };
}

}  // namespace qcowkit::cli
