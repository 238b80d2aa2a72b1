// An open image side by side with a byte array that says what its guest must read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "qcowkit/image.h"
#include "tests/support/disk_operation.h"

namespace qcowkit::test {

/// What `Image::check` finds wrong, if anything.
std::optional<std::string> what_check_finds(Image& image, bool leaks_are_errors);

/// Functions return what is wrong, if anything is; exceptions pass through.
class ModelledImage {
 public:
  /// `discards`: false where the format cannot say that a discarded cluster reads as zeroes over a
  /// backing file (version 2), so that discards do nothing.
  ModelledImage(std::unique_ptr<Image> image, std::vector<std::byte> model, bool discards = true)
      : image_(std::move(image)), model_(std::move(model)), discards_(discards) {}

  Image& image() noexcept { return *image_; }
  const std::vector<std::byte>& model() const noexcept { return model_; }
  /// The same disk, opened again.
  void set_image(std::unique_ptr<Image> image) { image_ = std::move(image); }

  /// Does any operation but `reopen` to both, and reads and compares around it.
  std::optional<std::string> apply(const Operation& operation);
  /// Compares all that is read with the model, and all that `map` tells.
  std::optional<std::string> compare_all();
  /// `Image::check` finds no corruption.
  std::optional<std::string> check(bool leaks_are_errors);

 private:
  std::optional<std::string> change(const Operation& operation);
  std::optional<std::string> discard(std::uint64_t begin, std::uint64_t end);
  std::optional<std::string> compare(std::uint64_t begin, std::uint64_t end);
  std::optional<std::string> compare_map();

  std::unique_ptr<Image> image_;
  std::vector<std::byte> model_;
  bool discards_;
};

}  // namespace qcowkit::test
