// The locks by which processes that have an image open learn of each other.
#pragma once

#include <string>

namespace qcowkit {

/// Whether a lock was taken.
enum class LockOutcome {
  held,
  unavailable,  ///< the file system has no such locks
};

/// Declares to every other process what this one does with the file (`writes`: writing and
/// resizing it, otherwise reading it) and that meanwhile nobody else may write to it or resize it.
/// The locks belong to the open file description and end with it.
/// Throws `Error`: `Errc::in_use` if another process disagrees, or the errno of fcntl(2). Then
/// nothing is locked.
LockOutcome lock_file(int fd, bool writes, const std::string& path);

/// Ends the locks although the description may live on in a forked child.
void unlock_file(int fd) noexcept;

}  // namespace qcowkit
