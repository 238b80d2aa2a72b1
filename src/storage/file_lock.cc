// The locks by which processes that have an image open learn of each other.
//
// The protocol is the reference's, as seen in its system calls. A process takes *shared* locks,
// never exclusive ones, on single bytes of the file:
//
//     byte   100 + permission   "I use this permission"
//     byte   200 + permission   "I do not share this permission with others"
//
// and afterwards asks, by testing for an exclusive lock, whether anyone else holds 200 + p for a p
// that it uses, or 100 + p for a p that it does not share. So two newcomers at the same moment may
// both be refused, but never both be let in.
//
//     permission             number   a reader    a writer
//     consistent read        0        uses        uses
//     write                  1        forbids     uses, forbids
//     write unchanged        2        -           -
//     resize                 3        forbids     uses, forbids
#include "storage/file_lock.h"

#include <fcntl.h>
#include <fmt/core.h>

#include <array>
#include <cerrno>
#include <span>

#include "qcowkit/error.h"

namespace qcowkit {

namespace {

constexpr off_t kUsedByte = 100;
constexpr off_t kForbiddenByte = 200;
constexpr off_t kPermissionCount = 4;

struct Permission {
  off_t number;
  const char* name;
};
constexpr Permission kConsistentRead{0, "consistent read"};
constexpr Permission kWrite{1, "write"};
constexpr Permission kResize{3, "resize"};

constexpr std::array kReaderUses{kConsistentRead};
constexpr std::array kWriterUses{kConsistentRead, kWrite, kResize};
constexpr std::array kForbidden{kWrite, kResize};

/// One fcntl(2) on one byte or more; returns 0 or an errno.
int lock_call(int fd, int command, struct flock& lock, short type, off_t start, off_t length) {
  lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = start;
  lock.l_len = length;
  while (::fcntl(fd, command, &lock) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

bool means_unavailable(int error) noexcept {
  return error == ENOLCK || error == EINVAL || error == EOPNOTSUPP || error == ENOSYS;
}

[[noreturn]] void fail(int error, bool shared, const Permission& permission,
                       const std::string& path) {
  const std::string what =
      fmt::format("Failed to get {}\"{}\" lock", shared ? "shared " : "", permission.name);
  // A would-be conflict comes as EAGAIN or EACCES.
  if (error != EAGAIN && error != EACCES) throw os_error(error, what);
  throw Error(Errc::in_use,
              fmt::format("{}\nIs another process using the image [{}]?", what, path));
}

/// Takes `base` + each permission's number; returns false if the file system cannot.
bool take(int fd, off_t base, std::span<const Permission> permissions, const std::string& path) {
  for (const Permission& permission : permissions) {
    struct flock lock;
    const int error = lock_call(fd, F_OFD_SETLK, lock, F_RDLCK, base + permission.number, 1);
    if (means_unavailable(error)) return false;
    if (error != 0) fail(error, base == kForbiddenByte, permission, path);
  }
  return true;
}

/// Throws if another process holds `base` + the number of any of the permissions.
void expect_free(int fd, off_t base, std::span<const Permission> permissions,
                 const std::string& path) {
  for (const Permission& permission : permissions) {
    struct flock lock;
    int error = lock_call(fd, F_OFD_GETLK, lock, F_WRLCK, base + permission.number, 1);
    if (error == 0 && lock.l_type != F_UNLCK) error = EAGAIN;
    if (error != 0) fail(error, base == kUsedByte, permission, path);
  }
}

}  // namespace

LockOutcome lock_file(int fd, bool writes, const std::string& path) {
  const std::span<const Permission> uses =
      writes ? std::span<const Permission>(kWriterUses) : std::span<const Permission>(kReaderUses);
  try {
    if (!take(fd, kUsedByte, uses, path) || !take(fd, kForbiddenByte, kForbidden, path)) {
      unlock_file(fd);
      return LockOutcome::unavailable;
    }
    expect_free(fd, kForbiddenByte, uses, path);
    expect_free(fd, kUsedByte, kForbidden, path);
  } catch (...) {
    unlock_file(fd);
    throw;
  }
  return LockOutcome::held;
}

void unlock_file(int fd) noexcept {
  struct flock lock;
  lock_call(fd, F_OFD_SETLK, lock, F_UNLCK, kUsedByte,
            kForbiddenByte + kPermissionCount - kUsedByte);
}

}  // namespace qcowkit
