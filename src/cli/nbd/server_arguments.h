// What the command line says of the server.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/objects.h"
#include "cli/options.h"
#include "qcowkit/nbd.h"
#include "qcowkit/options.h"

namespace qcowkit::cli::nbd {

/// Where clients come from.
struct Address {
  std::optional<std::string> socket_path;
  std::optional<std::string> bind;
  std::optional<std::string> port;

  std::string host() const { return bind.value_or("0.0.0.0"); }
  /// Throws `Failure` for what is no port.
  std::uint16_t port_number() const;
};

/// One image to be exported.
struct Disk {
  std::string export_name;
  std::string file;
};

struct ServerArguments {
  Address address;
  std::uint32_t connections_max = 1;  ///< 0: no limit
  bool is_persistent = false;
  std::uint32_t handshake_seconds = 10;
  std::vector<Disk> disks;
  std::string description;
  std::uint64_t guest_offset = 0;
  std::optional<std::uint32_t> partition;
  bool allocation_depth = false;
  std::vector<std::string> bitmaps;

  std::optional<std::string> format;
  bool image_opts = false;
  bool read_only = false;
  bool keeps_writes_aside = false;
  std::optional<std::string> snapshot;
  CacheMode cache = CacheMode::writeback;
  bool aio_is_native = false;
  bool ignore_discards = true;
  DetectZeroes detect_zeroes = DetectZeroes::off;

  Objects objects;
  std::optional<std::string> tls_credentials;
  std::optional<std::string> tls_authorisation;
  std::optional<std::string> device;  ///< of the kernel's, to be connected
  bool forks = false;
  std::optional<std::string> pid_file;
  bool is_verbose = false;

  OpenOptions open_options() const;
};

/// Reads the options. `takes_many`: several images may be given, as NAME=FILE. Throws `Failure`.
ServerArguments read_server_arguments(const Arguments& arguments, bool takes_many);

/// Reads the options that say where a server is, or is to be.
Address read_address(const Arguments& arguments);

/// Throws `Failure` for the first option whose value makes no sense, or that comes a second time
/// and must not.
void check_values(const Arguments& arguments);
/// Throws `Failure` for options of TLS without credentials.
void check_tls_options(const Arguments& arguments);

}  // namespace qcowkit::cli::nbd
