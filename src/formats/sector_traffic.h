// Keeps requests on the same encrypted sectors apart.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/checked.h"
#include "crypto/sector_cipher.h"
#include "formats/guest_range_lock.h"

namespace qcowkit {

/// Writers of the same sector wait for each other: else the one that writes only a part of it, and
/// the rest as it was, would undo what the other has done. And a sector that is read while it is
/// being written would decrypt to neither what it was nor what it becomes.
///
/// Thread-safe. Readers take a lock only if somebody was writing meanwhile.
class SectorTraffic {
 public:
  /// Holds the sectors that a range touches for writing until it goes out of scope.
  class Writing {
   public:
    Writing(SectorTraffic& traffic, GuestOffset guest_offset, std::uint64_t length_bytes)
        : traffic_(traffic),
          holder_(traffic.lock_, first_sector(guest_offset),
                  sector_behind(guest_offset, length_bytes)) {
      traffic_.started_.fetch_add(1);
    }
    ~Writing() { traffic_.finished_.fetch_add(1); }
    Writing(const Writing&) = delete;
    Writing& operator=(const Writing&) = delete;

   private:
    SectorTraffic& traffic_;
    const GuestRangeLock::Holder holder_;
  };

  /// Calls `read`, which fills a buffer from the range, and calls it again if what it found may be
  /// half-written.
  template <typename Read>
  void read(GuestOffset guest_offset, std::uint64_t length_bytes, Read read) {
    const std::uint64_t finished = finished_.load();
    if (started_.load() == finished) {
      read();
      // Changes nothing, but unlike a load it cannot go before what `read` has looked at.
      if (started_.fetch_add(0) == finished) return;
    }
    const GuestRangeLock::Holder holder(lock_, first_sector(guest_offset),
                                        sector_behind(guest_offset, length_bytes));
    read();
  }

 private:
  static GuestOffset first_sector(GuestOffset guest_offset) noexcept {
    return {align_down(guest_offset.value, kSectorBytes)};
  }
  static GuestOffset sector_behind(GuestOffset guest_offset, std::uint64_t length_bytes) noexcept {
    return {align_up(guest_offset.value + length_bytes, kSectorBytes)};
  }

  GuestRangeLock lock_;
  std::atomic<std::uint64_t> started_ = 0;   // writes
  std::atomic<std::uint64_t> finished_ = 0;  // of them
};

}  // namespace qcowkit
