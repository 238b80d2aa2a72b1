// A connection's bytes, as they are, through a socket.
#pragma once

#include <string>

#include "qcowkit/nbd.h"

namespace qcowkit::nbd {

class SocketTransport final : public NbdTransport {
 public:
  /// Takes over a connected stream socket. `send_seconds`: see `NbdServerOptions`.
  SocketTransport(NbdSocket socket, std::uint32_t send_seconds);

  std::optional<std::size_t> receive(std::span<std::byte> into) override;
  bool has_bytes() noexcept override;
  void wait() override;
  void send(std::span<const iovec> from) override;
  bool sends_files() const noexcept override { return sends_files_; }
  std::uint64_t send_file(int descriptor, std::uint64_t offset,
                          std::uint64_t length_bytes) override;
  void shut_down(Direction direction) noexcept override;

 private:
  const NbdSocket socket_;
  const bool sends_files_;
};

/// Who is at the other end of a socket, as `NbdClient` shows it.
std::string peer_address(int descriptor);

}  // namespace qcowkit::nbd
