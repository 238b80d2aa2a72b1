// The files of one image in memory, and opening them.
#include "tests/crash/image_files.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "formats/qcow2/create.h"
#include "formats/qcow2/qcow2_layer.h"
#include "formats/raw/raw_layer.h"
#include "tests/support/fault_storage.h"
#include "tests/support/guest_model.h"

namespace qcowkit::test {

namespace {

constexpr std::uint64_t kBackingFill = 0xbac;

std::vector<std::byte> backing_content(std::uint64_t size, std::uint64_t cluster_size) {
  std::vector<std::byte> bytes = recognisable_bytes(kBackingFill, 0, size);
  // Some of it is zeroes, in pieces that are smaller and larger than clusters.
  for (const std::uint64_t hole : {cluster_size / 2, cluster_size * 3}) {
    for (std::uint64_t at = hole * 2; at < bytes.size(); at += hole * 7) {
      const std::uint64_t length = std::min(hole, bytes.size() - at);
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), length, std::byte{0});
    }
  }
  return bytes;
}

std::unique_ptr<Layer> open_layer(const Shape& shape, std::unique_ptr<Storage> image,
                                  std::unique_ptr<Storage> data_file, OpenedImage::Mode mode) {
  using Mode = OpenedImage::Mode;
  qcow2::LayerOptions options;
  options.read_only = mode == Mode::read_only || mode == Mode::check;
  options.for_check = mode == Mode::check || mode == Mode::repair;
  options.metadata = shape.metadata;
  qcow2::Header header = qcow2::Qcow2Layer::read_header(*image);
  return std::make_unique<qcow2::Qcow2Layer>(std::move(image), std::move(data_file),
                                             std::move(header), options);
}

}  // namespace

Shape plain_shape(std::string name, std::uint64_t disk_bytes, std::uint64_t cluster_size) {
  Shape shape;
  shape.name = std::move(name);
  shape.options.format = "qcow2";
  shape.options.size_bytes = disk_bytes;
  shape.options.cluster_size_bytes = cluster_size;
  return shape;
}

Shape with_backing(Shape shape) {
  shape.name += "Backing";
  const std::uint64_t size = shape.disk_bytes() - shape.cluster_size() - 512;
  shape.backing = std::make_shared<MemoryStorage>("backing");
  shape.backing->write(0, backing_content(size, shape.cluster_size()));
  shape.options.backing_file = "backing";
  shape.options.backing_format = "raw";
  shape.options.open_backing = false;
  return shape;
}

std::unique_ptr<Storage> share(std::shared_ptr<Storage> storage) {
  return storage ? std::make_unique<FaultStorage>(std::move(storage)) : nullptr;
}

ImageFiles ImageFiles::clone() const {
  return {image->clone(), data_file ? data_file->clone() : nullptr};
}

ImageFiles create_image_files(const Shape& shape) {
  ImageFiles files{std::make_shared<MemoryStorage>("image"),
                   shape.has_data_file() ? std::make_shared<MemoryStorage>("data file") : nullptr};
  qcow2::create_image(*files.image, files.data_file.get(), shape.options);
  return files;
}

std::vector<std::byte> initial_content(const Shape& shape) {
  std::vector<std::byte> bytes(shape.disk_bytes());
  if (shape.has_backing()) shape.backing->read(0, bytes);
  return bytes;
}

OpenedImage::OpenedImage(const Shape& shape, std::unique_ptr<Layer> layer)
    : layer_(std::move(layer)) {
  if (!shape.has_backing()) return;
  backing_ = std::make_unique<raw::RawLayer>(share(shape.backing), true);
  layer_->set_backing(backing_.get());
}

OpenedImage::OpenedImage(const Shape& shape, std::unique_ptr<Storage> image,
                         std::unique_ptr<Storage> data_file, Mode mode)
    : OpenedImage(shape, open_layer(shape, std::move(image), std::move(data_file), mode)) {}

OpenedImage::OpenedImage(const Shape& shape, const ImageFiles& files, Mode mode)
    : OpenedImage(shape, share(files.image), share(files.data_file), mode) {}

std::vector<std::byte> OpenedImage::read_all() {
  std::vector<std::byte> disk(layer_->virtual_size());
  layer_->read({0}, disk);
  return disk;
}

std::string describe(const CheckReport& report) {
  constexpr std::size_t kMessagesShown = 10;
  std::string text = fmt::format("{} corruptions, {} leaks, {} check errors", report.corruptions,
                                 report.leaks, report.check_errors);
  for (std::size_t i = 0; i < std::min(report.messages.size(), kMessagesShown); ++i) {
    text += "\n  " + report.messages[i];
  }
  return text;
}

}  // namespace qcowkit::test
