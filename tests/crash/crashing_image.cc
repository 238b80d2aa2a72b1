// An image on disks that may crash at any change.
#include "tests/crash/crashing_image.h"

#include <utility>

#include "tests/crash/watched_storage.h"

namespace qcowkit::test {

CrashingImage::CrashingImage(const ImageFiles& files, std::shared_ptr<FaultPlan> plan,
                             std::function<void(std::uint64_t host_offset)> on_change)
    : image_(*files.image), plan_(std::move(plan)), on_change_(std::move(on_change)) {
  if (files.data_file) data_file_.emplace(*files.data_file);
}

std::unique_ptr<Storage> CrashingImage::open(CrashDisk& disk) {
  return std::make_unique<WatchedStorage>(std::make_unique<FaultStorage>(disk.open(), plan_),
                                          on_change_);
}

std::unique_ptr<OpenedImage> CrashingImage::open(const Shape& shape) {
  return std::make_unique<OpenedImage>(shape, open_image(), open_data_file(),
                                       OpenedImage::Mode::read_write);
}

ImageFiles CrashingImage::crash(std::uint64_t seed) const {
  // Losing all and keeping all go for both disks; between them, each has its own fate.
  const std::uint64_t data_seed = seed < 2 ? seed : seed * 31 + 7;
  return {image_.crash_image(seed), data_file_ ? data_file_->crash_image(data_seed) : nullptr};
}

}  // namespace qcowkit::test
