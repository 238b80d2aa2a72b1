// File names that stand for storages.
#pragma once

#include <string_view>

#include "qcowkit/node.h"

namespace qcowkit {

/// What a file name means where no image but a storage is wanted. `driver`, if not empty, is the
/// driver to be taken whatever the name says.
NodeOptions storage_from_name(std::string_view name, std::string_view driver = {});

}  // namespace qcowkit
