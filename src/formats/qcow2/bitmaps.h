// All persistent dirty bitmaps of an open image: which there are, how they follow writes, and how
// they get to the disk.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "formats/qcow2/bitmap_bits.h"
#include "formats/qcow2/bitmap_data.h"
#include "formats/qcow2/bitmap_directory.h"
#include "formats/qcow2/metadata.h"
#include "qcowkit/image.h"

namespace qcowkit::qcow2 {

/// The directory is read with the first call that needs it, a bitmap's bits with the first that
/// needs them. What changes stays in memory until `store`. Before the first change of the disk,
/// each bitmap whose copy on the disk would be wrong after a crash is marked in use there, durably;
/// so a crash leaves bitmaps that are as they were stored, or known not to be right.
///
/// Thread-safe but for the calls that are said to be exclusive: during those, nobody else is here.
class Bitmaps {
 public:
  explicit Bitmaps(Metadata& metadata);

  /// Before each change of a range of the disk: the enabled bitmaps note it. Lock-free but for the
  /// first time, and next to nothing where no bitmap is enabled. Throws `Error` if a bitmap that
  /// has to follow cannot be read or must not be used: then the disk must not be changed.
  void note(GuestOffset guest_offset, std::uint64_t length_bytes) {
    const State state = state_.load(std::memory_order_acquire);
    if (state == State::none_follow) [[likely]]
      return;
    if (state == State::unknown) prepare();
    for (BitmapBits* const bits : following_) bits->mark(guest_offset, length_bytes);
  }

  std::vector<BitmapInfo> list();
  /// As `list` if the directory has been read; what the disk says is outdated then.
  std::optional<std::vector<BitmapInfo>> list_if_read();
  /// Throws `Error` (invalid_argument) if there is no such bitmap; if it cannot be used: corrupt,
  /// unsupported.
  BitmapExtent map(const std::string& name, GuestOffset guest_offset, std::uint64_t length_bytes);
  void mark(const std::string& name, GuestOffset guest_offset, std::uint64_t length_bytes);

  // Exclusive.

  void add(const Image::NewBitmap& bitmap);
  void remove(const std::string& name);
  void clear(const std::string& name);
  void enable(const std::string& name, bool enabled);
  /// Before the disk gets this size. Throws `Error` if a bitmap cannot follow.
  void before_resize(std::uint64_t disk_bytes);
  /// The disk's size has changed.
  void resize(std::uint64_t disk_bytes);
  /// Brings all that has changed to the disk, durably. A crash leaves either all bitmaps as they
  /// were on the disk before, or as they are now.
  void store();
  /// Forgets everything: the header may name another directory now.
  void reload();

 private:
  enum class State : std::uint8_t {
    unknown,      ///< `prepare` comes first
    none_follow,  ///< nothing to do when the disk changes
    some_follow,  ///< `following_` is right
  };
  struct Tracked {
    /// As it is now; but where table and data lie: as it was stored last. `in_use` is as it was
    /// found, and cannot be mended.
    BitmapEntry entry;
    std::optional<std::size_t> stored;  ///< index in `directory_`; none: has never been stored
    std::unique_ptr<BitmapBits> bits;   ///< null: as stored
  };

  void read_directory() REQUIRES(mutex_);
  Tracked& find(const std::string& name) REQUIRES(mutex_);
  Tracked& find_usable(const std::string& name) REQUIRES(mutex_);
  BitmapBits& bits_of(Tracked& bitmap) REQUIRES(mutex_);
  void require_room_for(const BitmapEntry& added) REQUIRES(mutex_);

  void prepare();
  /// Marks entries of the directory on the disk as in use: all, or those that a change of the disk
  /// would make wrong.
  void announce(bool all) REQUIRES(mutex_);
  void write_all() REQUIRES(mutex_);
  BitmapEntry write_bitmap(Tracked& bitmap, Reservations& reservations) REQUIRES(mutex_);
  std::vector<HostRange> clusters_replaced_by(const std::vector<BitmapEntry>& entries)
      REQUIRES(mutex_);
  void switch_directory(const std::vector<BitmapEntry>& entries, Reservations& reservations)
      REQUIRES(mutex_);

  Metadata& metadata_;

  std::atomic<State> state_;
  /// Changed by `prepare` only, while `state_` is unknown.
  std::vector<BitmapBits*> following_;

  /// Before those of `Metadata`.
  Mutex mutex_;
  bool is_read_ GUARDED_BY(mutex_) = false;
  std::vector<BitmapEntry> directory_ GUARDED_BY(mutex_);  // as it is on the disk
  std::vector<std::unique_ptr<Tracked>> bitmaps_ GUARDED_BY(mutex_);
  std::uint64_t data_bytes_left_ GUARDED_BY(mutex_) = 0;  // see `read_bitmap_bits`
  bool must_store_ GUARDED_BY(mutex_) = false;
};

}  // namespace qcowkit::qcow2
