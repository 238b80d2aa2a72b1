// -L: what another server exports.
#pragma once

#include "cli/console.h"
#include "cli/options.h"

namespace qcowkit::cli::nbd {

/// Throws `Failure` or `Error`.
void print_export_list(const Arguments& arguments, Console& console);

}  // namespace qcowkit::cli::nbd
