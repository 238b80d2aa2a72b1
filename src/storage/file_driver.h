// What the drivers "file", "host_device" and "host_cdrom" ask of a path.
#pragma once

#include <string>
#include <string_view>

namespace qcowkit {

/// Throws `Error` (invalid_argument) if `path` exists and is not of the kind that `driver` ("file",
/// "host_device" or "host_cdrom") is for, in the reference's words. To be asked only where the
/// driver was named; `open_file` takes files and devices alike. If not `read_only`, a directory
/// passes: opening it tells more.
void require_kind_for_driver(const std::string& path, std::string_view driver,
                             bool read_only = true);

}  // namespace qcowkit
