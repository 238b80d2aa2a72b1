// SELinux labels of listening sockets.
#include "cli/nbd/socket_label.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "cli/failure.h"

namespace qcowkit::cli::nbd {

namespace {

/// Returns 0 or an errno. An empty label is the usual one.
int set_label(const std::string& label) {
  const int file = ::open("/proc/thread-self/attr/sockcreate", O_WRONLY | O_CLOEXEC);
  if (file < 0) return errno;
  // The label's end is written, too; the usual one is nothing at all.
  const std::size_t count = label.empty() ? 0 : label.size() + 1;
  const int result = ::write(file, label.c_str(), count) < 0 ? errno : 0;
  ::close(file);
  return result;
}

}  // namespace

SocketLabel::SocketLabel(const std::optional<std::string>& label) {
  if (!label) return;
  if (const int error = set_label(*label)) {
    throw Failure(fmt::format("Cannot set SELinux socket create context to {}: {}", *label,
                              std::generic_category().message(error)));
  }
  is_set_ = true;
}

SocketLabel::~SocketLabel() {
  if (is_set_) set_label("");
}

}  // namespace qcowkit::cli::nbd
