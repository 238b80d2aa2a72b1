// Exports as block devices of the kernel's ("/dev/nbd0").
#pragma once

#include <string>
#include <thread>

#include "qcowkit/nbd.h"

namespace qcowkit::cli::nbd {

/// An export that a kernel's device shows, while this object lives.
class ConnectedDevice {
 public:
  /// Connects `device` to `server`, which has started, as one of its clients. `on_end` is called
  /// when the device is disconnected. Throws `Failure`.
  ConnectedDevice(const std::string& device, NbdServer& server, const std::string& export_name,
                  std::function<void()> on_end);
  ~ConnectedDevice();
  ConnectedDevice(const ConnectedDevice&) = delete;
  ConnectedDevice& operator=(const ConnectedDevice&) = delete;

 private:
  int device_fd_ = -1;
  int socket_fd_ = -1;
  std::thread runner_;
};

/// Throws `Failure`.
void disconnect_device(const std::string& device);

}  // namespace qcowkit::cli::nbd
