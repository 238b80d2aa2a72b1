// Text that stands for bytes: RFC 4648, section 4.
#pragma once

#include "qcowkit/secret.h"

namespace qcowkit::cli {

/// What `text` stands for. Line ends are skipped and an unfinished group at the end is left out.
/// Throws `Failure` for other characters.
Secret decode_base64(const Secret& text);

}  // namespace qcowkit::cli
