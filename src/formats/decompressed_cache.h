// A few clusters that have just been decompressed.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/buffer.h"
#include "base/mutex.h"
#include "base/offsets.h"

namespace qcowkit {

/// Thread-safe. Keyed by the host offset of the compressed stream: valid until that place is given
/// up, of which `forget` tells before it can be used again.
class DecompressedCache {
 public:
  explicit DecompressedCache(std::uint64_t cluster_size);

  /// Null if the cluster is not here.
  std::shared_ptr<const Buffer> find(HostOffset stream);
  void insert(HostOffset stream, std::shared_ptr<const Buffer> cluster);
  void forget(HostOffset begin, std::uint64_t bytes);

 private:
  struct Entry {
    HostOffset stream;
    std::shared_ptr<const Buffer> cluster;
    std::uint64_t last_use;
  };

  const std::size_t entries_max_;
  Mutex mutex_;
  std::vector<Entry> entries_ GUARDED_BY(mutex_);
  std::uint64_t uses_ GUARDED_BY(mutex_) = 0;
};

}  // namespace qcowkit
