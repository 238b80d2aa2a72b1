// The driver "blkverify": what a storage under test holds is compared with a raw copy.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "qcowkit/storage.h"

namespace qcowkit {

/// Told of contents that differ before the request fails; `message` is a whole line without its
/// end. A tool that is to end there, as the reference does, ends itself. Called by any thread.
using MismatchSink = std::function<void(const std::string& message)>;

/// Reads `test` and `raw` and compares them, writes both. A difference throws `Error` (corrupt)
/// with the message that `on_mismatch` (if any) was given. The size is that of `test`.
std::unique_ptr<Storage> make_blkverify_storage(std::unique_ptr<Storage> test,
                                                std::unique_ptr<Storage> raw,
                                                MismatchSink on_mismatch = {});

}  // namespace qcowkit
