// A simulated disk with a volatile write cache, and what a crash leaves of it.
//
// The fault model. Writes, zero writes, discards and resizes enter a cache in the order in which
// they are made; reads see the cache. A flush makes everything in the cache durable. A crash
// leaves what is durable and, of the changes since the last flush, any subset:
//   - each change is lost, kept, or torn: then each of its 512-byte sectors is lost or kept by
//     itself, and so is the growth of the file by it (what grew without its data reads as zeroes);
//   - a resize is lost or kept;
//   - what is kept is applied in the order of the writes. To reorder them as well would add
//   nothing:
//     a sector's state is one of its versions either way, and versions are chosen freely.
// A sector never mixes two versions, no change reaches a sector outside its range, and what a
// flush covered is never lost. A discarded range reads as zeroes.
//
// The power fails after a chosen number of changes: those have entered the cache, and every
// later operation fails with EIO and does nothing. Several disks may hang on one power supply.
//
// A sweep over all crashes of a workload:
//
//     CrashDisk rehearsal(start);
//     ... run the workload on rehearsal.open() ...
//     for (n = 0; n <= rehearsal.power().changes(); ++n) {
//       CrashDisk disk(start);
//       disk.power().fail_after(n);
//       ... run the workload on disk.open(), which throws when the power fails ...
//       for (seed = 0; seed < kSeeds; ++seed) examine(disk.crash_image(seed));
//     }
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "qcowkit/storage.h"
#include "storage/memory_storage.h"

namespace qcowkit::test {

/// Counts changes and ends after a given number of them. Thread-safe.
class Power {
 public:
  /// The first `changes` changes ever made are the last; more than that already made: off at once.
  void fail_after(std::uint64_t changes) EXCLUDES(mutex_);
  /// How many changes were made.
  std::uint64_t changes() const EXCLUDES(mutex_);
  bool is_on() const EXCLUDES(mutex_);

 private:
  friend class CrashDisk;
  bool use_for_change() EXCLUDES(mutex_);

  mutable Mutex mutex_;
  std::uint64_t changes_ GUARDED_BY(mutex_) = 0;
  std::uint64_t limit_ GUARDED_BY(mutex_) = std::numeric_limits<std::uint64_t>::max();
  bool is_on_ GUARDED_BY(mutex_) = true;
};

/// What becomes of one unflushed change.
enum class Fate { lost, kept, torn };

/// The disk. Thread-safe; must outlive the storages that it opens.
class CrashDisk {
 public:
  explicit CrashDisk(std::shared_ptr<Power> power = std::make_shared<Power>());
  /// Holds `content`, durably, from the start.
  explicit CrashDisk(const MemoryStorage& content,
                     std::shared_ptr<Power> power = std::make_shared<Power>());

  /// A storage that is this disk; several at once are allowed. `close` does nothing.
  std::unique_ptr<Storage> open();

  Power& power() noexcept { return *power_; }
  /// How many changes a crash would put at risk.
  std::size_t unflushed() const EXCLUDES(mutex_);

  /// What the disk holds after a crash now, if unflushed change i has `fates[i]` (missing ones are
  /// lost); `seed` decides where torn ones tear. The disk itself stays as it is.
  std::unique_ptr<MemoryStorage> crash_image(std::span<const Fate> fates, std::uint64_t seed) const
      EXCLUDES(mutex_);
  /// The same with fates drawn from `seed`. Seed 0 loses all and 1 keeps all; the others take turns
  /// at mixing all fates, keeping or losing a single change, and cutting the sequence off.
  std::unique_ptr<MemoryStorage> crash_image(std::uint64_t seed) const EXCLUDES(mutex_);

 private:
  class View;

  enum class Kind { write, zero, discard, resize };
  struct Change {
    Kind kind;
    std::uint64_t host_offset;  // resize: the new size
    std::uint64_t length_bytes;
    std::vector<std::byte> bytes;  // write only
  };

  /// Lets the change into the cache; throws EIO without power.
  void make(Change change) EXCLUDES(mutex_);
  void flush() EXCLUDES(mutex_);
  void expect_power() const;
  static void apply(const Change& change, MemoryStorage& to);
  static void apply_torn(const Change& change, MemoryStorage& to, std::uint64_t seed);
  static void apply_part(const Change& change, std::uint64_t first, std::uint64_t length_bytes,
                         MemoryStorage& to);

  const std::string name_ = "crash disk";
  const std::shared_ptr<Power> power_;

  mutable Mutex mutex_;
  std::unique_ptr<MemoryStorage> durable_ GUARDED_BY(mutex_);
  std::vector<Change> unflushed_ GUARDED_BY(mutex_);
  // What reads see: durable_ with unflushed_ applied. The pointer is constant; readers need no
  // lock.
  const std::unique_ptr<MemoryStorage> cached_;
};

}  // namespace qcowkit::test
