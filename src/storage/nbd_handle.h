// What all uses of a handle of libnbd share: its errors, and how it is connected.
#pragma once

#include <memory>

#include "qcowkit/error.h"
#include "qcowkit/nbd_client.h"
#include "storage/nbd_library.h"
#include "storage/nbd_tls_relay.h"

namespace qcowkit {

/// libnbd's message for the call of this thread that has just failed.
Error last_nbd_error(const NbdLibrary& nbd);

/// Throws `last_nbd_error` if `result`, which a function of libnbd has returned, says so.
void require_nbd(const NbdLibrary& nbd, int result);

/// Connects as `options` say where and how. With TLS, returns what is to live as long as `handle`,
/// and to go after it is closed. Throws `Error`.
std::unique_ptr<NbdTlsRelay> connect_to_server(const NbdLibrary& nbd, nbd_handle* handle,
                                               const NbdClientOptions& options);

}  // namespace qcowkit
