// Connecting to where an NBD server listens.
#pragma once

#include <string>

#include "qcowkit/nbd_client.h"

namespace qcowkit {

/// What messages call the place: "/run/disk.sock", "server:10809".
std::string nbd_address_of(const NbdClientOptions& options);

/// Returns a connected socket, for the caller to close. Throws `Error` (errno), or
/// `Errc::invalid_argument` for a name that means nothing.
int connect_to_address(const NbdClientOptions& options);

}  // namespace qcowkit
