// How the next part of an allocating write goes.
#pragma once

#include <cstdint>
#include <vector>

#include "base/offsets.h"
#include "formats/qcow2/l2_entry.h"
#include "formats/qcow2/metadata.h"
#include "formats/reservation.h"

namespace qcowkit::qcow2 {

using Reservation = qcowkit::Reservation<Metadata>;

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
