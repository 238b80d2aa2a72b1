#include "tests/image/small_image.h"

#include <algorithm>

#include "base/endian.h"
#include "tests/support/content.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::test {

namespace {

CreateOptions small_clusters() {
  CreateOptions options;
  options.cluster_size_bytes = SmallImage::kClusterSize;
  return options;
}

}  // namespace

SmallImage::SmallImage(const std::string& name) : SmallImage(small_clusters(), name) {}

SmallImage::SmallImage(CreateOptions options, const std::string& name)
    : storage_(std::make_shared<MemoryStorage>(name)), content_(kSize) {
  options.format = "qcow2";
  options.size_bytes = kSize;
  Image::create(*storage_, options);
  fill();
}

void SmallImage::fill() {
  const auto image = open_for_writing();
  const std::uint64_t cluster = image->cluster_size();
  for (const std::uint64_t start : {std::uint64_t{0}, kTableCovers}) {
    const auto at = [&](std::uint64_t index) { return start + index * cluster; };
    const auto part = [&](std::uint64_t index) {
      return std::span(content_).subspan(at(index), cluster);
    };
    for (std::uint64_t i = 0; i < 4; ++i) {
      fill_content(3 + 4 * i, part(i));
      image->write(at(i), part(i));
    }
    for (std::uint64_t i = kCompressedCluster; i < kCompressedCluster + 2; ++i) {
      fill_content(2 + 4 * i, part(i));
      image->write_compressed(at(i), image->compress(part(i)), part(i));
    }
    image->write(at(kZeroCluster), make_content(1, cluster));
    image->write_zeroes(at(kZeroCluster), cluster, false);
    image->write(at(kZeroCluster + 1), make_content(1, cluster));
    image->write_zeroes(at(kZeroCluster + 1), cluster, true);
  }
  image->close();
}

std::unique_ptr<Image> SmallImage::open(OpenOptions options) const {
  options.format = "qcow2";
  return Image::open(std::make_unique<FaultStorage>(storage_), options);
}

std::unique_ptr<Image> SmallImage::open_for_writing() const {
  OpenOptions options;
  options.read_only = false;
  return open(options);
}

std::uint64_t SmallImage::field(std::uint64_t host_offset) const {
  be64 raw;
  storage_->read(host_offset, std::as_writable_bytes(std::span(&raw, 1)));
  return raw;
}

void SmallImage::set_field(std::uint64_t host_offset, std::uint64_t value) {
  const be64 raw = value;
  storage_->write(host_offset, std::as_bytes(std::span(&raw, 1)));
}

void SmallImage::set_field32(std::uint64_t host_offset, std::uint32_t value) {
  const be32 raw = value;
  storage_->write(host_offset, std::as_bytes(std::span(&raw, 1)));
}

void read_everything(Image& image) {
  const std::uint64_t bytes_max = std::min<std::uint64_t>(image.virtual_size(), 16 << 20);
  std::vector<std::byte> buffer(65536);
  for (std::uint64_t at = 0; at < bytes_max; at += buffer.size()) {
    const auto part =
        std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), bytes_max - at));
    try {
      image.read(at, part);
    } catch (const Error&) {
      // What cannot be read does not keep the rest from being read.
    }
  }
  for (std::uint64_t at = 0; at < bytes_max;) {
    try {
      at += image.map(at, bytes_max - at).length_bytes;
    } catch (const Error&) {
      at += image.cluster_size();
    }
  }
}

}  // namespace qcowkit::test
