// Lists of options of drivers, as the I/O program takes them.
#pragma once

#include <string>

#include "cli/console.h"
#include "cli/open_arguments.h"

namespace qcowkit::cli::io {

/// Reads "driver=qcow2,file.filename=x". A word without '=' is an option that is switched on, also
/// at the beginning, where other programs take it for the file. Throws `Failure`.
ImageName parse_option_list(const std::string& list, Console& console);

}  // namespace qcowkit::cli::io
