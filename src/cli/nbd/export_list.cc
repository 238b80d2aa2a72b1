// -L: what another server exports.
#include "cli/nbd/export_list.h"

#include <fmt/core.h>

#include <array>

#include "cli/failure.h"
#include "cli/nbd/server_arguments.h"
#include "qcowkit/nbd_client.h"

namespace qcowkit::cli::nbd {

namespace {

/// By the number of the bit (NBD protocol, "Transmission flags"); the first says that the rest mean
/// something.
constexpr std::array<std::string_view, 12> kFlagNames = {
    "",       "readonly", "flush", "fua",    "rotational", "trim",
    "zeroes", "df",       "multi", "resize", "cache",      "fast-zero"};

void require_list_mode(const Arguments& arguments) {
  if (!arguments.positional().empty()) {
    throw Failure("List mode is incompatible with a file name");
  }
  for (const char* const option :
       {"--export-name", "--description", "--bitmap", "--allocation-depth", "--offset",
        "--partition", "--load-snapshot", "--connect", "--format", "--cache", "--nocache", "--aio",
        "--discard"}) {
    if (arguments.has(option)) {
      throw Failure("List mode is incompatible with per-device settings");
    }
  }
  if (arguments.has("--fork")) throw Failure("List mode is incompatible with forking");
  check_tls_options(arguments);
  if (arguments.has("--tls-authz")) {
    throw Failure("TLS authorization is incompatible with export list");
  }
}

NbdClientOptions client_options(const Arguments& arguments) {
  const Objects objects = parse_all_objects(arguments.all("--object"));
  const Address address = read_address(arguments);
  NbdClientOptions options;
  if (address.socket_path) {
    options.socket_path = *address.socket_path;
  } else {
    options.host = address.host();
    options.port = fmt::format("{}", address.port_number());
  }
  if (const auto id = arguments.value("--tls-creds")) {
    const auto& known = objects.of_nodes.tls_clients;
    const auto found = known.find(*id);
    if (found == known.end()) {
      throw Failure(fmt::format("Failed to get TLS creds: {}",
                                objects.contains(*id)
                                    ? "Expected TLS credentials for a client endpoint"
                                    : fmt::format("No TLS credentials with id '{}'", *id)));
    }
    options.tls = found->second;
  }
  options.tls_hostname = arguments.value("--tls-hostname");
  return options;
}

void print_export(const NbdExportInfo& info, Console& console) {
  console.print(" export: '{}'\n", info.name);
  if (!info.description.empty()) console.print("  description: {}\n", info.description);
  console.print("  size:  {}\n", info.size_bytes);
  if (info.flags != 0) {
    console.print("  flags: {:#x} (", info.flags);
    for (std::size_t bit = 1; bit < kFlagNames.size(); ++bit) {
      if ((info.flags >> bit & 1) != 0) console.print(" {}", kFlagNames[bit]);
    }
    console.write(" )\n");
  }
  if (info.block_sizes) {
    console.print("  min block: {}\n  opt block: {}\n  max block: {}\n", info.block_sizes->minimum,
                  info.block_sizes->preferred, info.block_sizes->maximum);
  }
  if (info.meta_contexts.empty()) return;
  console.print("  available meta contexts: {}\n", info.meta_contexts.size());
  for (const std::string& context : info.meta_contexts) console.print("   {}\n", context);
}

}  // namespace

void print_export_list(const Arguments& arguments, Console& console) {
  check_values(arguments);
  require_list_mode(arguments);
  const std::vector<NbdExportInfo> exports = list_nbd_exports(client_options(arguments));
  console.print("exports available: {}\n", exports.size());
  for (const NbdExportInfo& info : exports) print_export(info, console);
}

}  // namespace qcowkit::cli::nbd
