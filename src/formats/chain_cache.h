// Which image of a chain is the first that may have a part of the disk.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "base/mutex.h"

namespace qcowkit {

class Layer;

/// For units of the disk, which the owner numbers: the first layer behind the owner's that may
/// have something there; all those between have nothing. What was learnt counts until the chain is
/// changed, which a `generation` tells that only ever grows.
///
/// Thread-safe; `find` takes no lock. Bounded: newer knowledge takes the place of older. Takes no
/// memory until something is learnt.
class ChainCache {
 public:
  static constexpr std::uint64_t kUnitsInRegion = 64;

  ChainCache() = default;
  ChainCache(const ChainCache&) = delete;
  ChainCache& operator=(const ChainCache&) = delete;
  ~ChainCache();

  /// Null if that is not known.
  Layer* find(std::uint64_t unit, std::uint64_t generation) const noexcept;
  /// `first` is the first layer that may have something in the units from `unit` to before `end`,
  /// all of them in one region of `kUnitsInRegion`. The chain was looked at after it was found to
  /// be of this generation.
  void learn(std::uint64_t unit, std::uint64_t end, std::uint64_t generation, Layer* first);

 private:
  /// What is known of one region. Readers take no lock: they look at `version` before and after.
  /// Changed under `mutex_`.
  struct Slot {
    std::atomic<std::uint64_t> version{0};  // odd while the slot is given to another region
    std::atomic<std::uint64_t> region{0};
    std::atomic<std::uint64_t> generation{0};
    std::array<std::atomic<Layer*>, kUnitsInRegion> first{};
  };
  /// All of them are some 5 MiB.
  static constexpr std::uint64_t kSlots = 8192;
  using Table = std::array<std::atomic<Slot*>, kSlots>;

  Slot& slot_for(std::uint64_t region) REQUIRES(mutex_);
  static void give_to(Slot& slot, std::uint64_t region, std::uint64_t generation) noexcept;

  Mutex mutex_;
  std::atomic<Table*> table_{nullptr};
};

}  // namespace qcowkit
