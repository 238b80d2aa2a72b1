// Options that several commands share, each written once.
#pragma once

#include "cli/options.h"

namespace qcowkit::cli {

inline constexpr OptionSpec kHelpOption{'h', "help", "", "print this help"};
inline constexpr OptionSpec kQuietOption{'q', "quiet", "", "print nothing but errors", true};
inline constexpr OptionSpec kProgressOption{
    'p', "progress", "", "show the progress; without it, SIGUSR1 makes the command print it once",
    true};
inline constexpr OptionSpec kFormatOption{'f', "format", "FMT",
                                          "the image's format, found out if not given"};
inline constexpr OptionSpec kForceShareOption{
    'U', "force-share", "", "read the image although another process may be writing to it"};
inline constexpr OptionSpec kOutputOption{'\0', "output", "KIND", "human (default) or json"};
inline constexpr OptionSpec kObjectOption{
    '\0', "object", "OBJECT", "define a secret: secret,id=ID,data=TEXT or secret,id=ID,file=NAME"};
inline constexpr OptionSpec kImageOptsOption{
    '\0', "image-opts", "",
    "FILENAME is a list of options, as in driver=qcow2,file.filename=disk.qcow2"};
inline constexpr OptionSpec kSourceCacheOption{
    'T', "", "CACHE",
    "cache mode of the source: writeback (default), none, writethrough, "
    "directsync or unsafe"};
inline constexpr OptionSpec kCreateOptionsOption{
    'o', "options", "OPTIONS",
    "options of the new image, as in cluster_size=128k,compat=1.1; "
    "help lists them",
    true};

}  // namespace qcowkit::cli
