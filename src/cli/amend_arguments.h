// The -o options that change an image.
#pragma once

#include <string_view>

#include "cli/secrets.h"
#include "qcowkit/image.h"

namespace qcowkit::cli {

/// What `list` asks to change of `image`. Throws `Failure` for options that its format does not
/// have or that can only be given when an image is made, and for values that make no sense.
/// `program` is what messages call the program that has other commands.
AmendOptions amend_options_from(std::string_view list, const Image& image, const Secrets& secrets,
                                std::string_view program);

}  // namespace qcowkit::cli
