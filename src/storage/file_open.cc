// How a file or a block device is opened: checked, locked, and only then touched.
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "base/sector.h"
#include "qcowkit/error.h"
#include "storage/file_lock.h"
#include "storage/file_storage.h"

namespace qcowkit {

namespace {

bool is_direct(CacheMode cache) noexcept {
  return cache == CacheMode::none || cache == CacheMode::directsync;
}

bool is_durable(CacheMode cache) noexcept {
  return cache == CacheMode::writethrough || cache == CacheMode::directsync;
}

int open_flags(const FileOptions& options) noexcept {
  // Without O_NONBLOCK, opening a FIFO would wait for its other end.
  int flags = O_CLOEXEC | O_NONBLOCK | (options.read_only ? O_RDONLY : O_RDWR);
  if (options.create) flags |= O_CREAT;
  if (is_durable(options.cache)) flags |= O_DSYNC;
  return flags;
}

void expect_sensible(const FileOptions& options) {
  if (options.read_only && options.create) {
    throw Error(Errc::invalid_argument, "a file that is to be created cannot be read-only");
  }
  if (!options.read_only && options.locking == Locking::force_share) {
    throw Error(Errc::invalid_argument, "force-share=on can only be used with read-only images");
  }
}

const char* kind_name(mode_t mode) noexcept {
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "of an unknown kind";
}

FileKind expect_kind(mode_t mode) {
  if (S_ISREG(mode)) return FileKind::regular;
  if (S_ISBLK(mode)) return FileKind::block_device;
  if (S_ISCHR(mode)) return FileKind::character_device;
  if (S_ISDIR(mode)) throw Error(std::make_error_code(std::errc::is_a_directory), "Is a directory");
  throw Error(Errc::unsupported,
              fmt::format("It is {}, neither a regular file nor a device", kind_name(mode)));
}

[[noreturn]] void fail_errno(int error) {
  const std::error_code code(error, std::generic_category());
  throw Error(code, code.message());
}

void set_status_flags(int fd, bool direct) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) fail_errno(errno);
  if (::fcntl(fd, F_SETFL, (flags & ~O_NONBLOCK) | (direct ? O_DIRECT : 0)) == 0) return;
  if (!direct || errno != EINVAL) fail_errno(errno);
  throw Error(std::make_error_code(std::errc::invalid_argument),
              "The file system does not support O_DIRECT (cache modes none and directsync)");
}

DirectAlignment expect_direct_alignment(int fd, std::uint32_t device_sector_bytes) {
  const DirectAlignment alignment = find_direct_alignment(fd, device_sector_bytes);
  if (alignment.offset != 0 && alignment.memory != 0) return alignment;
  throw Error(std::make_error_code(std::errc::invalid_argument),
              "This file does not support O_DIRECT (cache modes none and directsync)");
}

}  // namespace

FileStorage::Opened FileStorage::open_descriptor(const std::string& path,
                                                 const FileOptions& options) {
  expect_sensible(options);
  Opened opened(::open(path.c_str(), open_flags(options), 0644));
  const int fd = opened.fd.get();
  if (fd < 0) fail_errno(errno);
  struct stat status {};
  if (::fstat(fd, &status) != 0) fail_errno(errno);
  opened.kind = expect_kind(status.st_mode);

  if (opened.kind == FileKind::block_device) {
    int sector_bytes = 0;
    if (::ioctl(fd, BLKSSZGET, &sector_bytes) != 0) fail_errno(errno);
    opened.device_sector_bytes = static_cast<std::uint32_t>(sector_bytes);
  }
  if (opened.kind == FileKind::character_device) opened.device_sector_bytes = kSectorBytes;
  set_status_flags(fd, is_direct(options.cache));
  if (options.locking == Locking::automatic) {
    opened.is_locked = lock_file(fd, !options.read_only, path) == LockOutcome::held;
  }
  if (is_direct(options.cache)) {
    opened.direct = expect_direct_alignment(fd, opened.device_sector_bytes);
  }
  // Nothing above has changed a file that is someone else's.
  if (options.create && opened.kind == FileKind::regular && ::ftruncate(fd, 0) != 0) {
    fail_errno(errno);
  }
  return opened;
}

std::unique_ptr<FileStorage> FileStorage::open(const std::string& path,
                                               const FileOptions& options) {
  try {
    return std::unique_ptr<FileStorage>(
        new FileStorage(path, options, open_descriptor(path, options)));
  } catch (const Error& error) {
    // A conflict of locks explains itself and names the file.
    if (error.code() == Errc::in_use) throw;
    throw error.within(fmt::format("Could not {} '{}'", options.create ? "create" : "open", path));
  }
}

std::unique_ptr<Storage> open_file(const std::string& path, const FileOptions& options) {
  return FileStorage::open(path, options);
}

}  // namespace qcowkit
