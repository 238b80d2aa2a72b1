// The options of the NBD server's command line.
#pragma once

#include <array>

#include "cli/common_options.h"
#include "cli/options.h"

namespace qcowkit::cli::nbd {

inline constexpr std::array kOptions = {
    OptionSpec{'k', "socket", "PATH", "listen on a Unix socket of this name, an absolute path"},
    OptionSpec{'p', "port", "PORT", "listen on this TCP port (10809)"},
    OptionSpec{'b', "bind", "ADDRESS", "listen on this address only (0.0.0.0)"},
    OptionSpec{'e', "shared", "COUNT", "serve so many clients at a time (1); 0: no limit"},
    OptionSpec{'t', "persistent", "", "go on when the last client has gone"},
    OptionSpec{'x', "export-name", "NAME", "what the export is called (the empty name)"},
    OptionSpec{'D', "description", "TEXT", "what the export is, for people"},
    OptionSpec{'o', "offset", "OFFSET", "export what begins at this guest offset"},
    OptionSpec{'P', "partition", "NUMBER", "export this partition, 1 to 128 (of an MBR or a GPT)"},
    OptionSpec{'A', "allocation-depth", "",
               "let clients ask which image of the chain provides what"},
    OptionSpec{'B', "bitmap", "NAME", "let clients read this bitmap; may be given several times"},
    kFormatOption,
    OptionSpec{'r', "read-only", "", "open and export the image for reading only"},
    OptionSpec{'s', "snapshot", "", "keep what clients write in a temporary file"},
    OptionSpec{'l', "load-snapshot", "SNAPSHOT",
               "export one of the image's snapshots, by its id or its name, or with "
               "snapshot.id=ID,snapshot.name=NAME"},
    OptionSpec{'n', "nocache", "", "go past the host's cache, the same as --cache=none"},
    OptionSpec{'\0', "cache", "MODE",
               "cache mode: writeback (default), none, writethrough, directsync or unsafe"},
    OptionSpec{'\0', "aio", "MODE",
               "how the host is asked: threads, native or io_uring; all are threads here"},
    OptionSpec{'\0', "discard", "MODE", "what becomes of discards: ignore (default) or unmap"},
    OptionSpec{
        '\0', "detect-zeroes", "MODE",
        "what becomes of written zeroes: off (default), on (they are stored as such) or unmap "
        "(and give back their space)"},
    kImageOptsOption,
    OptionSpec{'L', "list", "", "print what another server exports"},
    OptionSpec{'c', "connect", "DEVICE", "make the export a block device of the kernel's"},
    OptionSpec{'d', "disconnect", "", "end that: FILENAME is the device"},
    kObjectOption,
    OptionSpec{'\0', "tls-creds", "ID",
               "encrypt with these credentials, and serve nobody who does not"},
    OptionSpec{'\0', "tls-authz", "ID", "let in only those that this object allows"},
    OptionSpec{'\0', "tls-hostname", "NAME", "with -L: whom the server's certificate is to name"},
    OptionSpec{'\0', "handshake-limit", "SECONDS",
               "send clients away that have not chosen an export by then (10); 0: no limit"},
    OptionSpec{'\0', "fork", "", "return when the server is running, in the background"},
    OptionSpec{'\0', "pid-file", "PATH", "write the server's process id to this file"},
    OptionSpec{'\0', "selinux-label", "LABEL", "label the socket that is listened on for SELinux"},
    OptionSpec{'v', "verbose", "", "tell of what goes wrong with clients"},
    OptionSpec{'T', "trace", "PATTERN", "print the engine's events as they happen"},
    OptionSpec{'V', "version", "", "print the version"},
    kHelpOption,
};

}  // namespace qcowkit::cli::nbd
