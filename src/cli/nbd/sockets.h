// The sockets that a server listens on.
#pragma once

#include <vector>

#include "cli/nbd/server_arguments.h"
#include "qcowkit/nbd.h"

namespace qcowkit::cli::nbd {

/// Those that the service manager has passed on (systemd's socket activation); none if it has not.
/// Throws `Failure` where the environment makes no sense, or `address` says where to listen, too.
std::vector<NbdSocket> take_activated_sockets(const Address& address);

/// Throws `Failure` for a host or a port that nobody knows.
void require_address(const Address& address);

/// Throws `Failure`.
std::vector<NbdSocket> listen_at(const Address& address);

}  // namespace qcowkit::cli::nbd
