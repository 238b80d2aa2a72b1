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

/// Serves a request that `check_request` let through, and writes the reply, also where it fails.
/// `report` is told what clients are not. Does not throw.
void serve_request(const Session& session, const Request& request,
                   std::span<const std::byte> payload, ReplyWriter& reply,
                   const std::function<void(const std::string&)>& report) noexcept;

}  // namespace qcowkit::nbd
