// Options of new images, and comparing what they make.
#pragma once

#include <cstdint>

#include "qcowkit/options.h"
#include "qcowkit/storage.h"

namespace qcowkit::test {

/// A qcow2 image of this size; all else by default.
CreateOptions options_of(std::uint64_t size_bytes);

const char* name_of(Preallocation preallocation);

/// True if both hold the same bytes; looks at data only.
bool is_same(Storage& a, Storage& b);

}  // namespace qcowkit::test
