// Host clusters between being reserved and being linked.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/offsets.h"

namespace qcowkit {

/// Host clusters that a request has reserved. What has not been committed when it goes out of
/// scope is given back to `metadata`, by its `release(host_offset, bytes)`.
template <typename Metadata>
class Reservation {
 public:
  Reservation() = default;
  Reservation(Metadata& metadata, HostOffset host_offset, std::uint64_t bytes)
      : metadata_(&metadata), host_offset_(host_offset), bytes_(bytes) {}
  Reservation(Reservation&& other) noexcept { swap(other); }
  Reservation& operator=(Reservation&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Reservation() {
    if (bytes_ != 0) metadata_->release(host_offset_, bytes_);
  }

  /// The first `bytes` are linked now.
  void commit(std::uint64_t bytes) noexcept {
    bytes = std::min(bytes, bytes_);
    host_offset_ += bytes;
    bytes_ -= bytes;
  }
  void commit_all() noexcept { bytes_ = 0; }

 private:
  void swap(Reservation& other) noexcept {
    std::swap(metadata_, other.metadata_);
    std::swap(host_offset_, other.host_offset_);
    std::swap(bytes_, other.bytes_);
  }

  Metadata* metadata_ = nullptr;
  HostOffset host_offset_{};
  std::uint64_t bytes_ = 0;
};

}  // namespace qcowkit
