// The options of the I/O program's command line.
#pragma once

#include <array>

#include "cli/common_options.h"
#include "cli/io/opening.h"
#include "cli/options.h"

namespace qcowkit::cli::io {

inline constexpr std::array kOptions = {
    OptionSpec{'c', "cmd", "COMMAND", "run this command; may be given several times"},
    kFormatOption,
    OptionSpec{'r', "read-only", "", "open the image for reading only"},
    OptionSpec{'s', "snapshot", "", "keep what is written in a temporary file"},
    OptionSpec{'n', "nocache", "", "go past the host's cache, the same as -t none"},
    OptionSpec{'C', "copy-on-read", "", "keep in the image what is read from its backing file"},
    OptionSpec{'t', "cache", "MODE",
               "cache mode: writethrough (default), writeback, none, directsync or unsafe"},
    OptionSpec{'d', "discard", "MODE", "what becomes of discards: unmap (default) or ignore"},
    kForceShareOption,
    OptionSpec{'i', "aio", "MODE",
               "how the host is asked: threads, native or io_uring; all are threads here"},
    OptionSpec{'k', "native-aio", "", "the same as -i native"},
    OptionSpec{'m', "misalign", "", "accepted; buffers need no alignment here"},
    kObjectOption,
    kImageOptsOption,
    OptionSpec{'T', "trace", "PATTERN", "print the engine's events as they happen"},
    OptionSpec{'V', "version", "", "print the version"},
    kHelpOption,
};

/// Looks at the values of the options that have been read so far. Throws `Failure`.
void check_options(const Arguments& so_far);

/// How the image is opened that the command line names, if it names one. Throws `Failure`.
Opening opening_of(const Arguments& arguments);

}  // namespace qcowkit::cli::io
