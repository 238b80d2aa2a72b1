// An image as a storage, each change of which holds its range while it is made.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "base/range_lock.h"
#include "image/image_storage.h"

namespace qcowkit {

/// What filters that write on their own behalf are built on: they hold ranges too, and so neither
/// overwrite what the guest has written since they read it, nor are overwritten in between. Writes
/// of data are left to them.
class ChangesHeldStorage : public ImageStorage {
 public:
  /// `mode` is that of changes other than the filter's own: shared where only these exclude others.
  ChangesHeldStorage(std::unique_ptr<Image> image, RangeLock::Mode mode)
      : ImageStorage(std::move(image)), mode_(mode) {}

  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override {
    const Range range(ranges_, host_offset, host_offset + length_bytes, mode_);
    return ImageStorage::write_zeroes(host_offset, length_bytes, options);
  }
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override {
    const Range range(ranges_, host_offset, host_offset + length_bytes, mode_);
    ImageStorage::discard(host_offset, length_bytes);
  }
  void resize(std::uint64_t new_size_bytes, Preallocation preallocation) override {
    const Range range(ranges_, 0, RangeLock::kToTheEnd, RangeLock::Mode::exclusive);
    ImageStorage::resize(new_size_bytes, preallocation);
  }

 protected:
  using Range = RangeLock::Guard;

  RangeLock& ranges() noexcept { return ranges_; }

 private:
  const RangeLock::Mode mode_;
  RangeLock ranges_;
};

}  // namespace qcowkit
