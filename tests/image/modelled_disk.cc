#include "tests/image/modelled_disk.h"

#include <fmt/core.h>

#include <algorithm>
#include "tests/support/content.h"
#include "tests/support/fault_storage.h"
#include "tests/support/reference_tools.h"

namespace qcowkit::test {

namespace {

constexpr const char* kBackingName = "base.img";
constexpr const char* kDataName = "data.raw";

/// Writes content of all kinds into a new disk, cluster by cluster.
void fill_backing(Image& image, std::uint64_t content, bool compressed) {
  constexpr std::uint64_t kRawPart = 4096;
  const std::uint64_t part = image.cluster_size() == 0 ? kRawPart : image.cluster_size();
  for (std::uint64_t at = 0; at < image.virtual_size(); at += part) {
    ++content;
    const auto bytes =
        make_content(content, std::min<std::uint64_t>(part, image.virtual_size() - at));
    if (content % 4 == 0 && content % 8 != 0) continue;  // a hole
    if (compressed) {
      image.write_compressed(at, image.compress(bytes), bytes);
    } else {
      image.write(at, bytes);
    }
  }
}

}  // namespace

std::string describe(const DiskConfig& config) {
  const CreateOptions& c = config.create;
  return fmt::format(
      "{} size {} version {} cluster_size {} refcount_bits {} extended_l2 {} {} lazy {} "
      "preallocation {} backing {} of {} #{} data_file {} raw {} l2_cache {} refcount_cache {} "
      "pass_discards {}",
      c.format, *c.size_bytes, c.version, c.cluster_size_bytes, c.refcount_bits, c.extended_l2,
      c.compression == CompressionType::zstd ? "zstd" : "deflate", c.lazy_refcounts,
      static_cast<int>(c.preallocation), static_cast<int>(config.backing),
      config.backing_size_bytes, config.backing_content, config.data_file, c.data_file_raw,
      config.l2_cache_bytes, config.refcount_cache_bytes, config.discard_pass_through);
}

OperationSpace operation_space(const DiskConfig& config) {
  const std::uint64_t cluster = config.create.cluster_size_bytes;
  return {*config.create.size_bytes, cluster,
          cluster * cluster / (config.create.extended_l2 ? 16 : 8), !config.data_file};
}

// --- Making and opening ------------------------------------------------------------------------

ModelledDisk::ModelledDisk(const DiskConfig& config, std::string folder)
    : config_(config),
      folder_(std::move(folder)),
      storage_(std::make_shared<MemoryStorage>(folder_ + "/disk.qcow2")) {
  std::vector<std::byte> model(*config.create.size_bytes);
  CreateOptions options = config_.create;
  options.cache = CacheMode::unsafe;  // nothing here outlives the power
  if (config_.backing != DiskConfig::Backing::none) {
    create_backing(model);
    options.backing_file = kBackingName;
    options.backing_format = config_.backing == DiskConfig::Backing::raw ? "raw" : "qcow2";
  }
  if (config_.data_file) options.data_file = folder_ + "/" + kDataName;
  Image::create(*storage_, options);
  const bool discards = config_.create.version != 2 || config_.backing == DiskConfig::Backing::none;
  disk_.emplace(open(), std::move(model), discards);
}

/// Makes the backing file; `model` becomes what an empty overlay shows of it.
void ModelledDisk::create_backing(std::vector<std::byte>& model) {
  const std::string path = folder_ + "/" + kBackingName;
  CreateOptions options;
  options.cache = CacheMode::unsafe;
  options.format = config_.backing == DiskConfig::Backing::raw ? "raw" : "qcow2";
  options.size_bytes = config_.backing_size_bytes;
  options.cluster_size_bytes = options.format == "raw" ? 0 : 4096;
  Image::create(path, options);
  OpenOptions backing_options;
  backing_options.format = options.format;
  backing_options.read_only = false;
  backing_options.cache = CacheMode::unsafe;
  const auto image = Image::open(path, backing_options);
  fill_backing(*image, config_.backing_content,
               config_.backing == DiskConfig::Backing::qcow2_compressed);
  const std::uint64_t shared = std::min<std::uint64_t>(model.size(), image->virtual_size());
  image->read(0, std::span(model).first(shared));
  image->close();
}

std::unique_ptr<Image> ModelledDisk::open() const {
  OpenOptions options;
  options.format = "qcow2";
  options.read_only = false;
  options.cache = CacheMode::unsafe;
  options.l2_cache_bytes = config_.l2_cache_bytes;
  options.refcount_cache_bytes = config_.refcount_cache_bytes;
  const bool passes = config_.discard_pass_through;
  options.discard_pass_through = {passes, passes, passes};
  return Image::open(std::make_unique<FaultStorage>(storage_), options);
}

std::optional<std::string> ModelledDisk::reopen() {
  disk_->image().close();
  disk_->set_image(open());
  return disk_->check(true);
}

// --- Operations --------------------------------------------------------------------------------

std::optional<std::string> ModelledDisk::apply(const Operation& operation) try {
  return operation.kind == OperationKind::reopen ? reopen() : disk_->apply(operation);
} catch (const std::exception& error) {
  return fmt::format("unexpected exception: {}", error.what());
}

std::optional<std::string> ModelledDisk::finish() try {
  if (auto wrong = reopen()) return wrong;
  if (auto wrong = disk_->compare_all()) return wrong;
  disk_->image().close();
  return std::nullopt;
} catch (const std::exception& error) {
  return fmt::format("unexpected exception: {}", error.what());
}

std::optional<std::string> ModelledDisk::ask_reference() const {
  std::vector<std::byte> file(storage_->size());
  storage_->read(0, file);
  const std::string path = folder_ + "/disk.qcow2";
  write_file(path, file);
  return test::ask_reference(path, disk_->model());
}

}  // namespace qcowkit::test
