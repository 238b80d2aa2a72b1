// Doing what a request asks for.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "export/nbd/handshake.h"
#include "export/nbd/reply_writer.h"
#include "export/nbd/request.h"

namespace qcowkit::nbd {

/// Is told what clients are not.
using Report = std::function<void(const std::string&)>;

/// Serves a request that `check_request` let through, and writes the reply, also where it fails.
/// Without its payload, a write is one whose pieces have been written. Does not throw.
void serve_request(const Session& session, const Request& request,
                   std::span<const std::byte> payload, ReplyWriter& reply,
                   const Report& report) noexcept;

/// Writes bytes of a write request's payload, those from `at` on. What is to become of the request.
WireError write_piece(const Session& session, const Request& request, std::uint64_t at,
                      std::span<const std::byte> bytes, const Report& report) noexcept;

}  // namespace qcowkit::nbd
