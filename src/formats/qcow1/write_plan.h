// How the next part of an allocating write goes.
#pragma once

#include <cstdint>

#include "base/offsets.h"
#include "formats/qcow1/metadata.h"
#include "formats/qcow1/qcow1_layer.h"
#include "formats/reservation.h"

namespace qcowkit::qcow1 {

using Reservation = qcowkit::Reservation<Metadata>;

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
