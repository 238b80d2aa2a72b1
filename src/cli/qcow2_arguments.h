// The -o options that only qcow2 has.
#pragma once

#include "cli/encryption_arguments.h"
#include "cli/option_values.h"
#include "qcowkit/options.h"

namespace qcowkit::cli {

/// Puts the value of -o compat into `options`. Throws `Failure` for one that is unknown.
void set_qcow2_version(const OptionValues& values, CreateOptions& options);

/// Puts the other values into `options`, whose version, backing file and preallocation are set.
/// Throws `Failure` for those that it knows no meaning of, and in what is to be created also for
/// those that exclude each other.
void set_qcow2_options(const OptionValues& values, NewImage purpose, CreateOptions& options);

}  // namespace qcowkit::cli
