// Part of qcowkit. MIT licence; see LICENSE.
//
// The client's side of the network block device (NBD) protocol: where a server is, and what it
// offers. Images on servers are opened as others are, by `Image::open` with a name or options of
// the driver "nbd" (`qcowkit/node.h`).
//
//   NbdClientOptions server;
//   server.host = "server";
//   server.port = "10809";
//   for (const NbdExportInfo& disk : list_nbd_exports(server)) print(disk.name, disk.size_bytes);
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qcowkit/error.h"

namespace qcowkit {

/// How the connection is encrypted, and how both sides prove who they are: by certificates, by
/// pre-shared keys where there is a file of them, or not at all.
struct NbdClientTls {
  /// With "ca-cert.pem" and, where the server asks for them, "client-cert.pem" and
  /// "client-key.pem"; empty: the authorities that the system trusts.
  std::string certificates_directory = {};
  std::string psk_file = {};  ///< lines of "NAME:KEY", as psktool(1) makes them
  std::string username = {};  ///< of the pre-shared key; empty: the file's first
  bool verify_peer = true;    ///< the server's certificate is looked at
  /// Nobody proves anything: it keeps out who listens, but not who pretends to be the server.
  bool is_anonymous = false;
  std::string key_password = {};  ///< of an encrypted "client-key.pem"
  /// Which protocol versions and ciphers are allowed, in GnuTLS's words; empty: "NORMAL".
  std::string priority = {};
};

/// Where a server is, and how to talk to it.
struct NbdClientOptions {
  // Where the server listens: one of the two.
  std::string socket_path = {};
  std::string host = {};
  std::string port = {};  ///< a number or the name of a service

  std::string export_name = {};
  bool read_only = true;
  /// What block status is asked for instead of "base:allocation", as "qemu:dirty-bitmap:NAME": its
  /// bit 0 counts as "occupies no space", bit 1 as "reads as zeroes". The server has to offer it.
  std::optional<std::string> meta_context = {};
  std::optional<NbdClientTls> tls = {};
  /// Whom the server's certificate has to name; without it, `host`.
  std::optional<std::string> tls_hostname = {};
  /// For so long, connecting is tried again where nobody listens.
  std::uint32_t open_timeout_seconds = 0;
  /// For so long, requests wait for a lost connection to be made again; 0: they fail.
  std::uint32_t reconnect_delay_seconds = 0;
  /// Connections at a time, where the server promises that they are as good as one.
  std::uint32_t connections_max = 4;
  std::string name = {};  ///< what messages call it
};

/// What a server says of one of its exports.
struct NbdExportInfo {
  std::string name = {};
  std::string description = {};
  std::uint64_t size_bytes = 0;
  std::uint16_t flags = 0;  ///< the transmission flags (NBD protocol, "Transmission flags")
  /// Sizes of requests in bytes, where the server tells: the smallest, the best, the largest.
  struct BlockSizes {
    std::uint64_t minimum = 0;
    std::uint64_t preferred = 0;
    std::uint64_t maximum = 0;
  };
  std::optional<BlockSizes> block_sizes = {};
  std::vector<std::string> meta_contexts = {};
};

/// Asks the server what it offers; `options.export_name` does not matter. Blocks until it has
/// answered. Throws `Error`: the
/// server's refusal or an errno; `Errc::unsupported` without libnbd, which is loaded by this call.
std::vector<NbdExportInfo> list_nbd_exports(const NbdClientOptions& options);

}  // namespace qcowkit
