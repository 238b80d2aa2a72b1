#include "formats/chain_cache.h"

namespace qcowkit {

ChainCache::~ChainCache() {
  Table* table = table_.load(std::memory_order_acquire);
  if (table == nullptr) return;
  for (const std::atomic<Slot*>& slot : *table) delete slot.load(std::memory_order_relaxed);
  delete table;
}

Layer* ChainCache::find(std::uint64_t unit, std::uint64_t generation) const noexcept {
  const Table* table = table_.load(std::memory_order_acquire);
  if (table == nullptr) return nullptr;
  const std::uint64_t region = unit / kUnitsInRegion;
  const Slot* slot = (*table)[region % kSlots].load(std::memory_order_acquire);
  if (slot == nullptr) return nullptr;
  const std::uint64_t version = slot->version.load(std::memory_order_acquire);
  if (version % 2 != 0 || slot->region.load(std::memory_order_acquire) != region ||
      slot->generation.load(std::memory_order_acquire) != generation) {
    return nullptr;
  }
  // Whoever sees something of another region here sees another version afterwards.
  Layer* first = slot->first[unit % kUnitsInRegion].load(std::memory_order_acquire);
  return slot->version.load(std::memory_order_relaxed) == version ? first : nullptr;
}

void ChainCache::learn(std::uint64_t unit, std::uint64_t end, std::uint64_t generation,
                       Layer* first) {
  const std::uint64_t region = unit / kUnitsInRegion;
  const MutexLock lock(mutex_);
  Slot& slot = slot_for(region);
  const bool is_its_own = slot.region.load(std::memory_order_relaxed) == region;
  const std::uint64_t known = slot.generation.load(std::memory_order_relaxed);
  if (is_its_own && known > generation) return;  // somebody has looked later
  if (!is_its_own || known != generation) give_to(slot, region, generation);
  for (; unit < end; ++unit) {
    slot.first[unit % kUnitsInRegion].store(first, std::memory_order_release);
  }
}

ChainCache::Slot& ChainCache::slot_for(std::uint64_t region) {
  Table* table = table_.load(std::memory_order_relaxed);
  if (table == nullptr) {
    table = new Table{};
    table_.store(table, std::memory_order_release);
  }
  std::atomic<Slot*>& place = (*table)[region % kSlots];
  Slot* slot = place.load(std::memory_order_relaxed);
  if (slot == nullptr) {
    slot = new Slot;
    slot->region.store(region, std::memory_order_relaxed);
    place.store(slot, std::memory_order_release);
  }
  return *slot;
}

void ChainCache::give_to(Slot& slot, std::uint64_t region, std::uint64_t generation) noexcept {
  const std::uint64_t version = slot.version.load(std::memory_order_relaxed);
  slot.version.store(version + 1, std::memory_order_relaxed);
  for (std::atomic<Layer*>& first : slot.first) first.store(nullptr, std::memory_order_release);
  slot.region.store(region, std::memory_order_release);
  slot.generation.store(generation, std::memory_order_release);
  slot.version.store(version + 2, std::memory_order_release);
}

}  // namespace qcowkit
