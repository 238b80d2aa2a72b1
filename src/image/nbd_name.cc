// The names of NBD exports.
#include "image/nbd_name.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace qcowkit {

namespace {

constexpr std::string_view kDefaultPort = "10809";
constexpr std::string_view kExportName = ":exportname=";

Error invalid(std::string message) { return {Errc::invalid_argument, std::move(message)}; }
Error invalid_uri() { return invalid("No valid URL specified"); }

/// "unix:PATH" or "HOST:PORT", with ":exportname=NAME".
NodeOptions parse_old_name(std::string_view name) {
  NodeOptions options;
  if (const std::size_t at = name.find(kExportName); at != name.npos) {
    options.set("export", std::string(name.substr(at + kExportName.size())));
    name = name.substr(0, at);
  }
  if (name.empty()) throw invalid("NBD server address missing");
  if (name.starts_with("unix:")) {
    options.set("server.type", "unix");
    options.set("server.path", std::string(name.substr(5)));
    return options;
  }
  const std::size_t colon = name.rfind(':');
  if (colon == name.npos || colon + 1 == name.size()) {
    throw invalid(fmt::format("error parsing address '{}'", name));
  }
  std::string_view host = name.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  options.set("server.type", "inet");
  options.set("server.host", std::string(host));
  options.set("server.port", std::string(name.substr(colon + 1)));
  return options;
}

/// Takes %XX back. Throws for what is no such thing.
std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    unsigned value = 0;
    const char* const digits = text.data() + i + 1;
    if (text.size() - i < 3) throw invalid_uri();
    if (std::from_chars(digits, digits + 2, value, 16).ptr != digits + 2) throw invalid_uri();
    decoded += static_cast<char>(value);
    i += 2;
  }
  return decoded;
}

struct Uri {
  bool is_unix = false;
  bool is_encrypted = false;
  std::string user;
  std::string host;
  std::string port;
  std::string export_name;
  std::optional<std::string> socket;
  std::string certificates;
  std::string psk_file;
  std::string server_name;
  std::string verify_peer;
};

void parse_query(std::string_view query, Uri& uri) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view item = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const std::size_t equals = std::min(item.find('='), item.size());
    const std::string_view key = item.substr(0, equals);
    std::string value = percent_decoded(item.substr(std::min(equals + 1, item.size())));
    if (key == "socket") {
      uri.socket = std::move(value);
    } else if (key == "tls-certificates") {
      uri.certificates = std::move(value);
    } else if (key == "tls-psk-file") {
      uri.psk_file = std::move(value);
    } else if (key == "tls-username") {
      uri.user = std::move(value);
    } else if (key == "tls-hostname") {
      uri.server_name = std::move(value);
    } else if (key == "tls-verify-peer") {
      uri.verify_peer = value == "true" || value == "1" ? "on" : "off";
    } else {
      throw invalid_uri();
    }
  }
}

void parse_authority(std::string_view authority, Uri& uri) {
  if (const std::size_t at = authority.rfind('@'); at != authority.npos) {
    uri.user = percent_decoded(authority.substr(0, at));
    authority.remove_prefix(at + 1);
  }
  std::string_view port;
  if (authority.starts_with('[')) {
    const std::size_t end = authority.find(']');
    if (end == authority.npos) throw invalid_uri();
    uri.host = authority.substr(1, end - 1);
    port = authority.substr(end + 1);
  } else {
    const std::size_t colon = std::min(authority.find(':'), authority.size());
    uri.host = percent_decoded(authority.substr(0, colon));
    port = authority.substr(colon);
  }
  if (port.empty()) return;
  const bool is_number = port.size() > 1 && std::all_of(port.begin() + 1, port.end(), [](char c) {
                           return c >= '0' && c <= '9';
                         });
  if (port[0] != ':' || !is_number) throw invalid_uri();
  uri.port = port.substr(1);
}

Uri parse_uri(std::string_view scheme, std::string_view rest) {
  Uri uri;
  uri.is_encrypted = scheme.starts_with("nbds");
  uri.is_unix = scheme.ends_with("+unix");
  if (const std::size_t question = rest.find('?'); question != rest.npos) {
    parse_query(rest.substr(question + 1), uri);
    rest = rest.substr(0, question);
  }
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  parse_authority(rest.substr(0, slash), uri);
  if (slash < rest.size()) uri.export_name = percent_decoded(rest.substr(slash + 1));
  const bool is_complete = uri.is_unix ? uri.host.empty() && uri.port.empty() && uri.socket
                                       : !uri.host.empty() && !uri.socket;
  if (!is_complete) throw invalid_uri();
  return uri;
}

NodeOptions options_of(const Uri& uri) {
  NodeOptions options;
  options.set("server.type", uri.is_unix ? "unix" : "inet");
  if (uri.is_unix) {
    options.set("server.path", *uri.socket);
  } else {
    options.set("server.host", uri.host);
    options.set("server.port", uri.port.empty() ? std::string(kDefaultPort) : uri.port);
  }
  if (!uri.export_name.empty()) options.set("export", uri.export_name);
  if (uri.is_encrypted) {
    options.set("tls", true);
    if (!uri.certificates.empty()) options.set("tls-certificates", uri.certificates);
    if (!uri.psk_file.empty()) options.set("tls-psk-file", uri.psk_file);
    if (!uri.user.empty()) options.set("tls-username", uri.user);
    if (!uri.server_name.empty()) options.set("tls-hostname", uri.server_name);
    if (!uri.verify_peer.empty()) options.set("tls-verify-peer", uri.verify_peer);
  }
  return options;
}

}  // namespace

NodeOptions parse_nbd_name(std::string_view name) {
  const std::size_t colon = name.find(':');
  const std::string_view scheme = name.substr(0, colon);
  const std::string_view rest = name.substr(colon + 1);
  if (rest.starts_with("//")) return options_of(parse_uri(scheme, rest.substr(2)));
  if (scheme != "nbd") throw invalid_uri();
  return parse_old_name(rest);
}

std::string nbd_name_of(const NbdClientOptions& options) {
  const std::string path = options.export_name.empty() ? "" : "/" + options.export_name;
  if (!options.socket_path.empty()) {
    return fmt::format("nbd+unix://{}?socket={}", path, options.socket_path);
  }
  return fmt::format("nbd://{}:{}{}", options.host, options.port, path);
}

}  // namespace qcowkit
