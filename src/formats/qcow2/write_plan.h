// How a part of a write goes, and the host clusters that it has reserved.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/offsets.h"
#include "formats/qcow2/l2_entry.h"
#include "formats/qcow2/metadata.h"

namespace qcowkit::qcow2 {

/// Host clusters that a request has reserved. What has not been committed when it goes out of
/// scope is given back.
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

/// How the next part of a write goes: whole guest clusters, contiguous on the host.
struct WritePlan {
  /// The clusters are writable as they are (nothing to plan), have a host cluster that may be used,
  /// or need a new one.
  enum class Action { in_place, reuse, allocate };

  Action action = Action::in_place;
  GuestOffset first_cluster{};
  std::vector<RawL2Entry> old_entries;  ///< one for each cluster
  HostOffset host_offset{};             ///< of `first_cluster`
  bool reads_as_zero = false;           ///< the host clusters were never written
  GuestOffset fill_begin{};  ///< guest range that has to be there on the host afterwards: the data,
  GuestOffset fill_end{};    ///< and around it what is copied on write
  Reservation reservation;

  HostOffset host_of(GuestOffset o) const { return host_offset + (o - first_cluster); }
};

}  // namespace qcowkit::qcow2
