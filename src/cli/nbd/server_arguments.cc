// What the command line says of the server.
#include "cli/nbd/server_arguments.h"

#include <fmt/core.h>

#include <filesystem>
#include <limits>

#include "base/units.h"
#include "cli/failure.h"
#include "cli/open_arguments.h"
#include "cli/option_values.h"

namespace qcowkit::cli::nbd {

namespace {

constexpr std::size_t kNameBytesMax = 4096;  // NBD protocol, "Strings"
constexpr std::uint32_t kPartitionMax = 128;

std::uint32_t parse_count(const std::string& text, std::string_view complaint) {
  const std::optional<std::uint64_t> number = parse_number(text);
  if (!number || *number > std::numeric_limits<std::int32_t>::max()) {
    throw Failure(fmt::format("{} '{}'", complaint, text));
  }
  return static_cast<std::uint32_t>(*number);
}

CacheMode read_cache(const Arguments& arguments) {
  if (arguments.has("--cache") && arguments.has("-n")) {
    throw Failure("-n and --cache can only be specified once");
  }
  if (arguments.has("-n")) return CacheMode::none;
  const std::string mode = arguments.value("--cache").value_or("writeback");
  try {
    return parse_cache_mode(mode, "cache");
  } catch (const Failure&) {
    throw Failure(fmt::format("Invalid cache mode `{}'", mode));
  }
}

void check_aio(const Arguments& arguments) {
  const std::string aio = arguments.value("--aio").value_or("threads");
  if (aio != "threads" && aio != "native" && aio != "io_uring") {
    throw Failure(fmt::format("Invalid aio mode '{}'", aio));
  }
}

bool ignores_discards(const Arguments& arguments) {
  const std::string mode = arguments.value("--discard").value_or("ignore");
  if (mode == "ignore" || mode == "off") return true;
  if (mode == "unmap" || mode == "on") return false;
  throw Failure(fmt::format("Invalid discard mode `{}'", mode));
}

DetectZeroes read_detect_zeroes(const Arguments& arguments, bool ignore_discards) {
  const std::string mode = arguments.value("--detect-zeroes").value_or("off");
  if (mode == "off") return DetectZeroes::off;
  if (mode == "on") return DetectZeroes::on;
  if (mode != "unmap") {
    throw Failure(
        fmt::format("Failed to parse detect_zeroes mode: invalid parameter value: {}", mode));
  }
  if (ignore_discards) {
    throw Failure(
        "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap");
  }
  return DetectZeroes::unmap;
}

std::uint64_t parse_offset(const std::string& text) {
  const std::optional<std::uint64_t> offset = parse_size(text);
  if (offset) return *offset;
  throw Failure(
      "Parameter 'offset' expects a non-negative number below 2^64\n"
      "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
      "and exabytes, respectively.");
}

void require_short(std::string_view what, const std::string& text) {
  if (text.size() > kNameBytesMax) throw Failure(fmt::format("{} '{}' too long", what, text));
}

/// "NAME=FILE"; a file that is called so is meant itself.
Disk read_disk(const std::string& word, const std::string& name_otherwise) {
  const std::size_t equals = word.find('=');
  const bool has_name = equals != word.npos && word.find_first_of("/:") > equals;
  if (!has_name || std::filesystem::exists(word)) return {name_otherwise, word};
  return {word.substr(0, equals), word.substr(equals + 1)};
}

void read_disks(const Arguments& arguments, bool takes_many, ServerArguments& server) {
  const std::vector<std::string>& words = arguments.positional();
  const std::string name = arguments.value("--export-name").value_or("");
  require_short("export name", name);
  if (words.empty() || (words.size() > 1 && !takes_many)) {
    throw UsageError("Invalid number of arguments");
  }
  for (const std::string& word : words) {
    const bool may_have_name = takes_many && (!server.image_opts || words.size() > 1);
    server.disks.push_back(may_have_name ? read_disk(word, name) : Disk{name, word});
  }
}

void read_image_options(const Arguments& arguments, ServerArguments& server) {
  server.format = arguments.value("--format");
  server.image_opts = arguments.has("--image-opts");
  if (server.image_opts && server.format) {
    throw Failure("--image-opts and -f are mutually exclusive");
  }
  server.read_only = arguments.has("--read-only") || arguments.has("--load-snapshot");
  server.keeps_writes_aside = arguments.has("--snapshot");
  server.snapshot = arguments.value("--load-snapshot");
  server.cache = read_cache(arguments);
  check_aio(arguments);
  server.ignore_discards = ignores_discards(arguments);
  server.detect_zeroes = read_detect_zeroes(arguments, server.ignore_discards);
}

}  // namespace

std::uint16_t Address::port_number() const {
  if (!port) return kNbdPort;
  const std::optional<std::uint64_t> number = parse_number(*port);
  if (!number || *number > std::numeric_limits<std::uint16_t>::max()) {
    throw Failure(fmt::format("Failed to resolve '{}:{}': it is no port", host(), *port));
  }
  return static_cast<std::uint16_t>(*number);
}

Address read_address(const Arguments& arguments) {
  Address address{arguments.value("--socket"), arguments.value("--bind"),
                  arguments.value("--port")};
  if (address.socket_path && !address.socket_path->starts_with('/')) {
    throw Failure("socket path must be absolute");
  }
  return address;
}

ServerArguments read_server_arguments(const Arguments& arguments, bool takes_many) {
  ServerArguments server;
  server.objects = parse_all_objects(arguments.all("--object"));
  server.address = read_address(arguments);
  read_image_options(arguments, server);
  if (const auto count = arguments.value("--shared")) {
    server.connections_max = parse_count(*count, "Invalid shared device number");
  }
  if (const auto seconds = arguments.value("--handshake-limit")) {
    server.handshake_seconds = parse_count(*seconds, "Invalid handshake limit");
  }
  server.is_persistent = arguments.has("--persistent");
  server.description = arguments.value("--description").value_or("");
  require_short("export description", server.description);
  if (const auto offset = arguments.value("--offset")) {
    server.offset_text = *offset;
    server.guest_offset = parse_offset(*offset);
  }
  if (const auto number = arguments.value("--partition")) {
    server.partition = parse_count(*number, "Invalid partition");
    if (*server.partition < 1 || *server.partition > kPartitionMax) {
      throw Failure(fmt::format("Invalid partition {}", *number));
    }
  }
  server.allocation_depth = arguments.has("--allocation-depth");
  server.bitmaps = arguments.all("--bitmap");
  server.tls_credentials = arguments.value("--tls-creds");
  server.tls_authorisation = arguments.value("--tls-authz");
  if (server.tls_authorisation && !server.tls_credentials) {
    throw Failure("--tls-authz is not permitted without --tls-creds");
  }
  if (arguments.has("--tls-hostname")) {
    throw Failure("TLS hostname is only supported in list mode");
  }
  server.forks = arguments.has("--fork");
  server.pid_file = arguments.value("--pid-file");
  server.is_verbose = arguments.has("--verbose");
  read_disks(arguments, takes_many, server);
  return server;
}

OpenOptions ServerArguments::open_options() const {
  OpenOptions options;
  options.read_only = read_only;
  options.cache = cache;
  options.ignore_discards = ignore_discards;
  options.detect_zeroes = detect_zeroes;
  return options;
}

}  // namespace qcowkit::cli::nbd
