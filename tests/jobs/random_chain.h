// Chains of image files of every kind, filled at random.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/jobs/images.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::test {

/// What a layer is made with.
struct LayerKind {
  const char* format = "qcow2";
  std::uint64_t cluster_size_bytes = 0;
  std::uint32_t version = 3;
  bool extended_l2 = false;
};

inline constexpr LayerKind kOverlayKinds[] = {{"qcow2", 65536},
                                              {"qcow2", 4096},
                                              {"qcow2", 512},
                                              {"qcow2", 65536, 2},
                                              {"qcow2", 16384, 3, true},
                                              {"qcow2", 131072, 3, true},
                                              {"qcow"}};
inline constexpr LayerKind kBaseKind{"raw"};

inline OpenOptions open_for_writing(const std::string& format) {
  OpenOptions options;
  options.format = format;
  options.read_only = false;
  options.cache = CacheMode::unsafe;
  return options;
}

/// Makes layers in a directory.
class RandomChain {
 public:
  RandomChain(const TempDir& directory, std::mt19937_64& random)
      : directory_(directory), random_(random) {}

  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  std::uint64_t size() { return 512 * (1 + below(3000)); }
  LayerKind kind() { return kOverlayKinds[below(std::size(kOverlayKinds))]; }

  /// A layer over `backing` (a path, or empty), with some content. Returns its path.
  std::string add(const std::string& name, const LayerKind& kind, std::uint64_t size_bytes,
                  const std::string& backing = {}, const std::string& backing_format = {}) {
    CreateOptions options;
    options.format = kind.format;
    options.cluster_size_bytes = kind.cluster_size_bytes;
    options.version = kind.version;
    options.extended_l2 = kind.extended_l2;
    options.size_bytes = size_bytes;
    options.backing_file = backing;
    options.backing_format = kind.format == std::string("qcow2") ? backing_format : "";
    options.cache = CacheMode::unsafe;
    const std::string path = directory_.file(name);
    Image::create(path, options);
    OpenOptions open = open_for_writing(kind.format);
    if (!backing.empty()) {
      OpenOptions backing_options;
      backing_options.format = backing_format;
      open.backing = std::make_shared<const OpenOptions>(backing_options);
    }
    const auto image = Image::open(path, open);
    scribble(*image, static_cast<int>(below(9)), random_);
    if (image->cluster_size() >= 4096) compress_some(*image);
    image->close();
    return path;
  }

 private:
  void compress_some(Image& image) {
    const std::uint64_t clusters = image.virtual_size() / image.cluster_size();
    for (std::uint64_t i = below(3); i > 0 && clusters > 0; --i) {
      const std::uint64_t offset = below(clusters) * image.cluster_size();
      const Bytes bytes = data_bytes(image.cluster_size(), random_);
      image.write_compressed(offset, image.compress(bytes), bytes);
    }
  }

  const TempDir& directory_;
  std::mt19937_64& random_;
};

/// What the guest of a disk of `size_bytes` would read.
inline Bytes padded(Bytes bytes, std::uint64_t size_bytes) {
  bytes.resize(size_bytes);
  return bytes;
}

inline void expect_sound(Image& image) {
  if (image.format() != "qcow2") return;
  image.flush();
  const CheckReport report = image.check();
  EXPECT_EQ(report.corruptions, 0u);
  EXPECT_EQ(report.leaks, 0u);
  for (const std::string& message : report.messages) ADD_FAILURE() << message;
}

}  // namespace qcowkit::test
