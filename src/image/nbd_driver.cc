// The node "nbd".
#include <fmt/core.h>

#include "image/nbd_name.h"
#include "image/storage_drivers.h"
#include "storage/nbd_storage.h"

namespace qcowkit::drivers {

namespace {

constexpr const char* kDefaultPort = "10809";

Error invalid(std::string message) { return {Errc::invalid_argument, std::move(message)}; }

std::string take_required(NodeReader& reader, std::string_view key, std::string_view called) {
  const std::optional<std::string> value = reader.take_text(key);
  if (!value) throw invalid(fmt::format("Parameter '{}' is missing", called));
  return *value;
}

void read_server(NodeReader& reader, NbdClientOptions& nbd) {
  const std::string type = take_required(reader, "server.type", "type");
  if (type == "unix") {
    nbd.socket_path = take_required(reader, "server.path", "path");
  } else if (type == "inet") {
    nbd.host = take_required(reader, "server.host", "host");
    nbd.port = take_required(reader, "server.port", "port");
  } else {
    throw invalid(fmt::format("Parameter 'type' does not accept value '{}'", type));
  }
}

/// The options' older form.
void read_address(NodeReader& reader, NbdClientOptions& nbd) {
  const std::optional<std::string> path = reader.take_text("path");
  const std::optional<std::string> host = reader.take_text("host");
  const std::optional<std::string> port = reader.take_text("port");
  if (path && host) throw invalid("path and host may not be used at the same time");
  if (path && port) throw invalid("port may not be used without host");
  if (path) {
    nbd.socket_path = *path;
  } else if (host) {
    nbd.host = *host;
    nbd.port = port.value_or(kDefaultPort);
  } else {
    throw invalid("NBD server address missing");
  }
}

std::optional<NbdClientTls> read_tls(NodeReader& reader, const OpenOptions& options) {
  std::optional<NbdClientTls> tls;
  if (const auto id = reader.take_text("tls-creds")) {
    static const std::map<std::string, NbdClientTls> kNone;
    const auto& known = options.objects ? options.objects->tls_clients : kNone;
    const auto found = known.find(*id);
    if (found == known.end()) {
      const bool is_other = options.objects && (options.objects->secrets.contains(*id) ||
                                                options.objects->throttle_groups.contains(*id));
      throw invalid(is_other ? fmt::format("Object with id '{}' is not TLS credentials", *id)
                             : fmt::format("No TLS credentials with id '{}'", *id));
    }
    tls = found->second;
  } else if (reader.take_boolean("tls").value_or(false)) {
    tls.emplace();
    tls->certificates_directory = reader.take_text("tls-certificates").value_or("");
    tls->psk_file = reader.take_text("tls-psk-file").value_or("");
    tls->username = reader.take_text("tls-username").value_or("");
    tls->verify_peer = reader.take_boolean("tls-verify-peer").value_or(true);
  }
  return tls;
}

}  // namespace

OpenedNode open_nbd(NodeOpener& opener, NodeReader& reader, const OpenOptions& options) {
  NbdClientOptions nbd;
  if (reader.has_child("server")) {
    read_server(reader, nbd);
  } else {
    read_address(reader, nbd);
  }
  nbd.export_name = reader.take_text("export").value_or("");
  nbd.tls = read_tls(reader, options);
  nbd.tls_hostname = reader.take_text("tls-hostname");
  nbd.open_timeout_seconds =
      static_cast<std::uint32_t>(reader.take_number("open-timeout").value_or(0));
  nbd.reconnect_delay_seconds =
      static_cast<std::uint32_t>(reader.take_number("reconnect-delay").value_or(0));
  nbd.meta_context = reader.take_text("x-dirty-bitmap");
  nbd.read_only = options.read_only;
  nbd.name = nbd_name_of(nbd);
  opener.enter_other(options, nbd.name);

  const bool has_own_tls = reader.all().find("tls") != nullptr;
  OpenedNode opened;
  LabelBuilder label("nbd");
  label.add_strong_options(require_driver("nbd"), reader.all());
  opened.label = {.exact = has_own_tls ? "" : nbd.name, .json = label.json(), .location = nbd.name};
  opened.label.hides_allocation = true;
  opened.storage = open_nbd_storage(nbd);
  return opened;
}

}  // namespace qcowkit::drivers
