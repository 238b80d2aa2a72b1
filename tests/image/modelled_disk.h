// A disk image side by side with a byte array that says what its guest must read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "qcowkit/image.h"
#include "storage/memory_storage.h"
#include "tests/support/disk_operation.h"
#include "tests/support/modelled_image.h"

namespace qcowkit::test {

/// What image a trial is made on.
struct DiskConfig {
  enum class Backing { none, raw, qcow2, qcow2_compressed };

  CreateOptions create;  ///< without references to other files
  Backing backing = Backing::none;
  std::uint64_t backing_size_bytes = 0;
  std::uint64_t backing_content = 0;
  bool data_file = false;
  std::uint64_t l2_cache_bytes = 0;
  std::uint64_t refcount_cache_bytes = 0;
  bool discard_pass_through = true;
};
std::string describe(const DiskConfig& config);
OperationSpace operation_space(const DiskConfig& config);

/// The image lies in memory, under a name in `folder`; files that it refers to are there.
class ModelledDisk {
 public:
  ModelledDisk(const DiskConfig& config, std::string folder);

  /// Does an operation to both, and reads and compares around it. What is wrong, if anything.
  std::optional<std::string> apply(const Operation& operation);
  /// Compares everything and closes the image. What is wrong, if anything.
  std::optional<std::string> finish();
  /// What `qemu-img check` and `qemu-img compare` with the model find wrong, if anything. After
  /// `finish`.
  std::optional<std::string> ask_reference() const;

 private:
  void create_backing(std::vector<std::byte>& model);
  std::unique_ptr<Image> open() const;
  std::optional<std::string> reopen();

  const DiskConfig config_;
  const std::string folder_;
  std::shared_ptr<MemoryStorage> storage_;
  std::optional<ModelledImage> disk_;
};

}  // namespace qcowkit::test
