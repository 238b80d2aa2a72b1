// The names of NBD exports.
#pragma once

#include <string>
#include <string_view>

#include "qcowkit/nbd_client.h"
#include "qcowkit/node.h"

namespace qcowkit {

/// The driver's options that a name means: "nbd:unix:PATH[:exportname=NAME]",
/// "nbd:HOST:PORT[:exportname=NAME]", or a URI of one of the schemes nbd, nbd+tcp, nbd+unix, nbds,
/// nbds+unix ("nbd://HOST[:PORT]/NAME", "nbd+unix:///NAME?socket=PATH"). Throws `Error`
/// (invalid_argument) in the reference's words.
NodeOptions parse_nbd_name(std::string_view name);

/// The name that means the same. Only of what needs no more than a name.
std::string nbd_name_of(const NbdClientOptions& options);

}  // namespace qcowkit
