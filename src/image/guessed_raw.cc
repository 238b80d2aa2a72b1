// A raw image that nobody called one.
#include "image/guessed_raw.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "image/probe.h"
#include "qcowkit/error.h"
#include "storage/forwarding_storage.h"

namespace qcowkit {

namespace {

class GuessedRawStorage final : public ForwardingStorage {
 public:
  using ForwardingStorage::ForwardingStorage;

  void writev(std::uint64_t host_offset, std::span<const iovec> from) override {
    if (host_offset < kProbeBytes) require_no_format(host_offset, from);
    child().writev(host_offset, from);
  }
  StoragePlace place_of(std::uint64_t host_offset) noexcept override {
    if (host_offset < kProbeBytes) return {this, host_offset};
    return child().place_of(host_offset);
  }
  std::uint64_t copy_from(Storage& source, std::uint64_t source_host_offset,
                          std::uint64_t host_offset, std::uint64_t length_bytes) override {
    if (host_offset < kProbeBytes) return 0;
    return child().copy_from(source, source_host_offset, host_offset, length_bytes);
  }
  std::uint64_t clone_from(Storage& source, std::uint64_t source_host_offset,
                           std::uint64_t host_offset, std::uint64_t length_bytes) override {
    if (host_offset < kProbeBytes) return 0;
    return child().clone_from(source, source_host_offset, host_offset, length_bytes);
  }

 private:
  void require_no_format(std::uint64_t host_offset, std::span<const iovec> from) {
    std::array<std::byte, kProbeBytes> sector;
    child().read(0, sector);
    std::size_t at = host_offset;
    for (const iovec& buffer : from) {
      if (at == sector.size()) break;
      const std::size_t bytes = std::min(sector.size() - at, buffer.iov_len);
      if (bytes != 0) std::memcpy(sector.data() + at, buffer.iov_base, bytes);
      at += bytes;
    }
    if (probe_format(sector) != "raw") throw os_error(EPERM, name());
  }
};

}  // namespace

std::unique_ptr<Storage> make_guessed_raw_storage(std::unique_ptr<Storage> child) {
  return std::make_unique<GuessedRawStorage>(std::move(child));
}

}  // namespace qcowkit
