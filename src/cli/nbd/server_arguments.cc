// What the command line says of the server.
#include "cli/nbd/server_arguments.h"

#include <fmt/core.h>

#include <filesystem>
#include <limits>
#include <utility>

#include "base/units.h"
#include "cli/failure.h"
#include "cli/open_arguments.h"
#include "cli/option_values.h"
#include "cli/snapshot_source.h"

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

CacheMode parse_cache(const std::string& mode) {
  try {
    return parse_cache_mode(mode, "cache");
  } catch (const Failure&) {
    throw Failure(fmt::format("Invalid cache mode `{}'", mode));
  }
}

bool aio_is_native(const std::string& mode) {
  if (mode != "threads" && mode != "native" && mode != "io_uring") {
    throw Failure(fmt::format("Invalid aio mode '{}'", mode));
  }
  return mode == "native";
}

bool ignores_discards(const std::string& mode) {
  if (mode == "ignore" || mode == "off") return true;
  if (mode == "unmap" || mode == "on") return false;
  throw Failure(fmt::format("Invalid discard mode `{}'", mode));
}

DetectZeroes parse_detect_zeroes(const std::string& mode, bool ignore_discards) {
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

/// Other than the reference, this takes suffixes.
std::uint64_t parse_offset(const std::string& text) {
  const std::optional<std::uint64_t> offset = parse_size(text);
  if (offset) return *offset;
  if (!text.starts_with('-')) throw Failure(fmt::format("Invalid offset '{}'", text));
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

void require_disks(const Arguments& arguments, bool takes_many) {
  const std::size_t count = arguments.positional().size();
  if (count == 0 || (count > 1 && !takes_many)) throw UsageError("Invalid number of arguments");
}

void read_disks(const Arguments& arguments, bool takes_many, ServerArguments& server) {
  const std::vector<std::string>& words = arguments.positional();
  const std::string name = arguments.value("--export-name").value_or("");
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
  if (const auto mode = arguments.value("--cache")) server.cache = parse_cache(*mode);
  if (arguments.has("-n")) server.cache = CacheMode::none;
  server.aio_is_native = aio_is_native(arguments.value("--aio").value_or("threads"));
  server.ignore_discards = ignores_discards(arguments.value("--discard").value_or("ignore"));
  server.detect_zeroes = parse_detect_zeroes(arguments.value("--detect-zeroes").value_or("off"),
                                             server.ignore_discards);
}

std::uint32_t parse_partition(const std::string& text) {
  const std::uint32_t number = parse_count(text, "Invalid partition");
  if (number < 1 || number > kPartitionMax) {
    throw Failure(fmt::format("Invalid partition {}", text));
  }
  return number;
}

/// The reference has other quotation marks here than elsewhere.
void check_snapshot_in_own_words(const std::string& text) {
  try {
    check_snapshot(text);
  } catch (const SnapshotFailure& e) {
    const std::string_view why = e.what();
    throw SnapshotFailure(Failure::of_lines(fmt::format("{}\nFailed in parsing snapshot param `{}'",
                                                        why.substr(0, why.find('\n')), text)));
  }
}

/// Looks at one option after the other, as the reference does.
class ValueCheck {
 public:
  void look_at(std::string_view name, const std::string& value) {
    if (name == "cache" || name == "nocache") {
      once(has_cache_, "-n and --cache");
      if (name == "cache") parse_cache(value);
    } else if (name == "aio") {
      once(has_aio_, "--aio");
      aio_is_native(value);
    } else if (name == "discard") {
      once(has_discard_, "--discard");
      ignore_discards_ = ignores_discards(value);
    } else if (name == "detect-zeroes") {
      parse_detect_zeroes(value, ignore_discards_);
    } else if (name == "offset") {
      if (!value.starts_with('-')) parse_offset(value);  // a negative one is told of later
    } else if (name == "partition") {
      parse_partition(value);
    } else if (name == "shared") {
      parse_count(value, "Invalid shared device number");
    } else if (name == "handshake-limit") {
      parse_count(value, "Invalid handshake limit");
    } else if (name == "load-snapshot") {
      check_snapshot_in_own_words(value);
    } else if (name == "socket") {
      if (!value.starts_with('/')) throw Failure("socket path must be absolute");
    } else if (name == "export-name") {
      require_short("export name", value);
    } else if (name == "description") {
      require_short("export description", value);
    }
  }

 private:
  static void once(bool& was_there, std::string_view what) {
    if (std::exchange(was_there, true)) {
      throw Failure(fmt::format("{} can only be specified once", what));
    }
  }

  bool has_cache_ = false;
  bool has_aio_ = false;
  bool has_discard_ = false;
  bool ignore_discards_ = true;
};

}  // namespace

std::uint16_t Address::port_number() const {
  if (!port) return kNbdPort;
  const std::optional<std::uint64_t> number = parse_number(*port);
  if (!number || *number > std::numeric_limits<std::uint16_t>::max()) {
    throw Failure(fmt::format("address resolution failed for {}:{}: it is no port", host(), *port));
  }
  return static_cast<std::uint16_t>(*number);
}

Address read_address(const Arguments& arguments) {
  return {arguments.value("--socket"), arguments.value("--bind"), arguments.value("--port")};
}

void check_values(const Arguments& arguments) {
  ValueCheck check;
  for (const Arguments::Given& given : arguments.sequence()) check.look_at(given.name, given.value);
}

void check_tls_options(const Arguments& arguments) {
  if (arguments.has("--tls-creds")) return;
  for (const char* const option : {"--tls-authz", "--tls-hostname"}) {
    if (arguments.has(option)) {
      throw Failure(fmt::format("{} is not permitted without --tls-creds", option));
    }
  }
}

ServerArguments read_server_arguments(const Arguments& arguments, bool takes_many) {
  ServerArguments server;
  server.objects = parse_all_objects(arguments.all("--object"));
  require_disks(arguments, takes_many);
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
  if (const auto offset = arguments.value("--offset")) {
    server.guest_offset = parse_offset(*offset);
  }
  if (const auto number = arguments.value("--partition")) {
    server.partition = parse_partition(*number);
  }
  server.allocation_depth = arguments.has("--allocation-depth");
  server.bitmaps = arguments.all("--bitmap");
  server.tls_credentials = arguments.value("--tls-creds");
  server.tls_authorisation = arguments.value("--tls-authz");
  check_tls_options(arguments);
  if (arguments.has("--tls-hostname")) {
    throw Failure("TLS hostname is only supported with export list");
  }
  server.device = arguments.value("--connect");
  if (server.tls_credentials && server.device) {
    throw Failure("TLS is not supported with a host device");
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
