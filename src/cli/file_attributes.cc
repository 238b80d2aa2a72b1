// Attributes that some file systems let an empty file have.
#include "cli/file_attributes.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "qcowkit/error.h"

namespace qcowkit::cli {

namespace {

void turn_off_copy_on_write(int fd) {
  int flags = 0;
  if (::ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return;
  flags |= FS_NOCOW_FL;
  ::ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

void set_extent_size_hint(int fd, std::uint32_t bytes) {
  struct fsxattr attributes = {};
  if (::ioctl(fd, FS_IOC_FSGETXATTR, &attributes) != 0) return;
  if (bytes == 0) {
    attributes.fsx_xflags &= ~static_cast<std::uint32_t>(FS_XFLAG_EXTSIZE);
  } else {
    attributes.fsx_xflags |= FS_XFLAG_EXTSIZE;
  }
  attributes.fsx_extsize = bytes;
  ::ioctl(fd, FS_IOC_FSSETXATTR, &attributes);
}

}  // namespace

void apply_file_attributes(const std::string& path, const FileAttributes& attributes) {
  if (!attributes.no_copy_on_write && !attributes.extent_size_hint_bytes) return;
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) throw os_error(errno, "create " + path);
  if (attributes.no_copy_on_write) turn_off_copy_on_write(fd);
  if (attributes.extent_size_hint_bytes) {
    set_extent_size_hint(fd, *attributes.extent_size_hint_bytes);
  }
  ::close(fd);
}

std::optional<std::uint32_t> extent_size_hint_bytes(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return std::nullopt;
  struct fsxattr attributes = {};
  const bool is_known = ::ioctl(fd, FS_IOC_FSGETXATTR, &attributes) == 0;
  ::close(fd);
  if (!is_known || (attributes.fsx_xflags & FS_XFLAG_EXTSIZE) == 0) return std::nullopt;
  return attributes.fsx_extsize;
}

}  // namespace qcowkit::cli
