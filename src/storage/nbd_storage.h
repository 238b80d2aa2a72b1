// The driver "nbd": bytes that a server of the network block device protocol has.
#pragma once

#include <memory>

#include "qcowkit/nbd_client.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// Connects. Throws `Error`: the server's refusal or an errno; `Errc::unsupported` without libnbd.
///
/// Many threads' requests are under way at the same time. After a connection was lost with writes
/// that had not been flushed, every flush fails, for they may be lost with the server.
std::unique_ptr<Storage> open_nbd_storage(const NbdClientOptions& options);

}  // namespace qcowkit
