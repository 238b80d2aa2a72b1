// An image on disks that may crash at any change.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "tests/crash/image_files.h"
#include "tests/support/crash_storage.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::test {

/// The disks, one for the image and one for its data file, that an image lies on.
class CrashingImage {
 public:
  /// `on_change` is called after every change of a disk, when a crash would meet that change.
  /// `plan` may make operations fail.
  CrashingImage(const ImageFiles& files, std::shared_ptr<FaultPlan> plan,
                std::function<void(std::uint64_t host_offset)> on_change);
  CrashingImage(const ImageFiles& files, std::function<void(std::uint64_t host_offset)> on_change)
      : CrashingImage(files, std::make_shared<FaultPlan>(), std::move(on_change)) {}

  std::unique_ptr<Storage> open_image() { return open(image_); }
  std::unique_ptr<Storage> open_data_file() {  ///< null if there is none
    return data_file_ ? open(*data_file_) : nullptr;
  }
  /// The image as the test uses it.
  std::unique_ptr<OpenedImage> open(const Shape& shape);
  /// What one of the crashes that are possible now would leave.
  ImageFiles crash(std::uint64_t seed) const;

 private:
  std::unique_ptr<Storage> open(CrashDisk& disk);

  CrashDisk image_;
  std::optional<CrashDisk> data_file_;
  const std::shared_ptr<FaultPlan> plan_;
  const std::function<void(std::uint64_t)> on_change_;
};

}  // namespace qcowkit::test
