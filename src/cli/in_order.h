// Command lines that are looked at word by word, so that of several mistakes the first one is told.
#pragma once

#include <span>
#include <string_view>

#include "cli/options.h"

namespace qcowkit::cli {

/// Reads the words as `parse_arguments` does. `look_at` is called for each option. The objects that
/// were defined before a mistake are made first: what is wrong with them is told instead.
/// Throws `Failure`, `UsageError`, and `HelpText` where an object before a mistake asks for help.
Arguments parse_in_order(std::span<const std::string_view> words, std::span<const OptionSpec> specs,
                         LastWord last_word, const LookAtOptions& look_at);

}  // namespace qcowkit::cli
