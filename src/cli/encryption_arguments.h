// The -o options that say how a new image is encrypted.
#pragma once

#include <string_view>

#include "cli/option_values.h"
#include "cli/secrets.h"
#include "qcowkit/options.h"

namespace qcowkit::cli {

/// What the new image is for.
enum class NewImage {
  created,
  measured,  ///< never written: only what its size depends on has to make sense
};

/// Puts what `values` say of encryption into `options`. Throws `Failure` for options that
/// contradict each other and for a secret that is missing.
void apply_encryption(std::string_view format, const OptionValues& values, const Secrets& secrets,
                      NewImage purpose, CreateOptions& options);

}  // namespace qcowkit::cli
