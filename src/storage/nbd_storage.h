// The driver "nbd": bytes that a server of the network block device protocol has.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "qcowkit/storage.h"

namespace qcowkit {

/// How the connection is encrypted, and how both sides prove who they are.
struct NbdClientTls {
  /// Certificates: a directory with "ca-cert.pem" and, where the server asks for them,
  /// "client-cert.pem" and "client-key.pem". Pre-shared keys: the directory of "keys.psk".
  std::string directory = {};
  bool uses_psk = false;
  std::string username = {};  ///< of the pre-shared key
  bool verify_peer = true;    ///< the server's certificate is looked at
};

struct NbdClientOptions {
  // Where the server listens: one of the two.
  std::string socket_path = {};
  std::string host = {};
  std::string port = {};  ///< a number or the name of a service

  std::string export_name = {};
  bool read_only = true;
  std::optional<NbdClientTls> tls = {};
  /// For so long, connecting is tried again where nobody listens.
  std::uint32_t open_timeout_seconds = 0;
  /// For so long, requests wait for a lost connection to be made again; 0: they fail.
  std::uint32_t reconnect_delay_seconds = 0;
  /// Connections at a time, where the server promises that they are as good as one.
  std::uint32_t connections_max = 4;
  std::string name = {};  ///< what messages call it
};

/// Connects. Throws `Error`: the server's refusal or an errno; `Errc::unsupported` without libnbd.
///
/// Many threads' requests are under way at the same time. After a connection was lost with writes
/// that had not been flushed, every flush fails, for they may be lost with the server.
std::unique_ptr<Storage> open_nbd_storage(const NbdClientOptions& options);

}  // namespace qcowkit
