// How the next part of an allocating write goes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/offsets.h"
#include "formats/qcow1/metadata.h"
#include "formats/qcow1/qcow1_layer.h"

namespace qcowkit::qcow1 {

/// Host clusters that a request has reserved. What has not been committed when it goes out of
/// scope is given back.
class Qcow1Layer::Reservation {
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

/// Whole guest clusters, contiguous on the host, none of which has a host cluster yet.
struct Qcow1Layer::WritePlan {
  GuestOffset first_cluster{};
  std::uint64_t cluster_size = 0;
  std::uint64_t clusters = 0;  ///< 0: the first one can be written in place
  HostOffset host_offset{};    ///< of `first_cluster`
  bool is_fresh = false;       ///< the host clusters were never written
  Reservation reservation;

  GuestOffset end() const { return first_cluster + clusters * cluster_size; }
  HostOffset host_of(GuestOffset o) const { return host_offset + (o - first_cluster); }
};

}  // namespace qcowkit::qcow1
