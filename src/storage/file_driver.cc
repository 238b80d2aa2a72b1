// What the drivers "file", "host_device" and "host_cdrom" ask of a path.
#include "storage/file_driver.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include "qcowkit/error.h"

namespace qcowkit {

void require_kind_for_driver(const std::string& path, std::string_view driver, bool read_only) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return;  // opening it will tell
  if (S_ISDIR(status.st_mode) && !read_only) return;
  if (driver == "file") {
    if (S_ISREG(status.st_mode)) return;
    throw Error(Errc::invalid_argument,
                fmt::format("'{}' driver requires '{}' to be a regular file", driver, path));
  }
  if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) return;
  throw Error(Errc::invalid_argument,
              fmt::format("'{}' driver requires '{}' to be either a character or block device",
                          driver, path));
}

}  // namespace qcowkit
