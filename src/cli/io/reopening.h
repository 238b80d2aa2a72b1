// Changes of how an image is open.
#pragma once

#include <optional>
#include <string>

#include "cli/console.h"
#include "cli/io/opening.h"

namespace qcowkit::cli::io {

/// What is not set stays as it is.
struct Reopening {
  std::optional<bool> read_only;
  std::optional<CacheMode> cache;
  std::optional<std::string> options;  ///< a list of options
};

/// The disk stays as it was if this throws `Failure`.
void reopen(OpenedDisk& opened, const Reopening& changes, Console& console);

}  // namespace qcowkit::cli::io
