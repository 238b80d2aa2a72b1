// Copies by letting the target's file share the blocks of the source's.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "qcowkit/image.h"

namespace qcowkit {

/// A run of guest bytes that lies at `source_offset` in the source and at `target_offset` in the
/// target.
struct GuestMove {
  Image* source;
  std::uint64_t source_offset;
  std::uint64_t target_offset;
  std::uint64_t length_bytes;
};

/// Whether blocks can be shared is known only once it was tried; this remembers it for each of the
/// storages that sources lie in. Thread-safe.
class Cloner {
 public:
  enum class Verdict { untried, possible, impossible };

  /// Host offsets, guest offsets and lengths that are not multiples of this are not worth trying.
  static constexpr std::uint64_t kAlignment = 4096;

  Verdict verdict(const Storage* source) const EXCLUDES(mutex_);

  /// Makes the target's range, whose ends are multiples of its cluster size or the disk's end, read
  /// as the source's: by sharing what can be shared and writing the rest. `bytes` is either the
  /// range's content or empty; then what is needed of it is read from the source.
  void move(const GuestMove& range, Image& target, std::span<const std::byte> bytes)
      EXCLUDES(mutex_);

 private:
  std::uint64_t clone_extent(const Extent& extent, Storage& into, std::uint64_t host_offset)
      EXCLUDES(mutex_);
  void remember(const Storage* source, Verdict verdict) EXCLUDES(mutex_);

  mutable Mutex mutex_;
  std::vector<std::pair<const Storage*, Verdict>> verdicts_ GUARDED_BY(mutex_);
};

}  // namespace qcowkit
