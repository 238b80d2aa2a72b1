#include "formats/decompressed_cache.h"

#include <algorithm>

namespace qcowkit {

namespace {

constexpr std::uint64_t kBytesMax = 4u << 20;
constexpr std::size_t kEntriesMax = 64;

}  // namespace

DecompressedCache::DecompressedCache(std::uint64_t cluster_size)
    : entries_max_(std::clamp<std::size_t>(kBytesMax / cluster_size, 2, kEntriesMax)) {}

std::shared_ptr<const Buffer> DecompressedCache::find(HostOffset stream) {
  const MutexLock lock(mutex_);
  for (Entry& entry : entries_) {
    if (entry.stream != stream) continue;
    entry.last_use = ++uses_;
    return entry.cluster;
  }
  return nullptr;
}

void DecompressedCache::insert(HostOffset stream, std::shared_ptr<const Buffer> cluster) {
  const MutexLock lock(mutex_);
  for (const Entry& entry : entries_) {
    if (entry.stream == stream) return;
  }
  Entry fresh{stream, std::move(cluster), ++uses_};
  if (entries_.size() < entries_max_) {
    entries_.push_back(std::move(fresh));
    return;
  }
  const auto oldest =
      std::min_element(entries_.begin(), entries_.end(),
                       [](const Entry& a, const Entry& b) { return a.last_use < b.last_use; });
  *oldest = std::move(fresh);
}

void DecompressedCache::forget(HostOffset begin, std::uint64_t bytes) {
  const MutexLock lock(mutex_);
  std::erase_if(entries_, [&](const Entry& entry) {
    return begin <= entry.stream && entry.stream < begin + bytes;
  });
}

}  // namespace qcowkit
