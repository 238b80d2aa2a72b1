// SELinux labels of listening sockets.
#pragma once

#include <optional>
#include <string>

namespace qcowkit::cli::nbd {

/// While it lives, sockets that this thread opens get a label of SELinux's.
class SocketLabel {
 public:
  /// Without a label, does nothing. Throws `Failure` where the kernel does not take it, as it does
  /// where it has no SELinux.
  explicit SocketLabel(const std::optional<std::string>& label);
  ~SocketLabel();
  SocketLabel(const SocketLabel&) = delete;
  SocketLabel& operator=(const SocketLabel&) = delete;

 private:
  bool is_set_ = false;
};

}  // namespace qcowkit::cli::nbd
