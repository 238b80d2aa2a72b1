// A raw image that nobody called one.
#pragma once

#include <memory>

#include "qcowkit/storage.h"

namespace qcowkit {

/// What an image lies in that was only guessed to be raw. Its guest must not be able to make an
/// image of another format of it, for whoever opens it next would look for what that refers to. So
/// a write that makes the first sector the start of such an image fails (EPERM), with nothing
/// done. The rest is handed on.
std::unique_ptr<Storage> make_guessed_raw_storage(std::unique_ptr<Storage> child);

}  // namespace qcowkit
