// Small images for the tests of jobs: made in memory, filled at random, read back whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qcowkit/image.h"

namespace qcowkit::test {

using Bytes = std::vector<std::byte>;

/// An empty image of `options` in `storage`, open for writing.
inline std::unique_ptr<Image> make_image(const CreateOptions& options,
                                         std::unique_ptr<Storage> storage = make_memory_storage()) {
  Image::create(*storage, options);
  OpenOptions open;
  open.format = options.format;
  open.read_only = false;
  return Image::open(std::move(storage), open);
}

inline CreateOptions raw_options(std::uint64_t size_bytes) {
  CreateOptions options;
  options.format = "raw";
  options.size_bytes = size_bytes;
  return options;
}

inline CreateOptions qcow2_options(std::uint64_t size_bytes, std::uint64_t cluster_size_bytes = 0) {
  CreateOptions options;
  options.format = "qcow2";
  options.size_bytes = size_bytes;
  options.cluster_size_bytes = cluster_size_bytes;
  return options;
}

/// Bytes none of which is zero; compressible to about a half.
inline Bytes data_bytes(std::size_t count, std::mt19937_64& random) {
  Bytes bytes(count);
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (i % 8 == 0) word = random();
    bytes[i] = std::byte{static_cast<unsigned char>(1 + ((word >> (i % 8 * 8)) & 15))};
  }
  return bytes;
}

inline Bytes read_all(Image& image) {
  Bytes bytes(image.virtual_size());
  image.read(0, bytes);
  return bytes;
}

/// Makes `operations` random changes: data, zeroes written as data, zero requests, discards.
inline void scribble(Image& image, int operations, std::mt19937_64& random) {
  const std::uint64_t size = image.virtual_size();
  const auto below = [&](std::uint64_t limit) { return random() % limit; };
  for (int i = 0; i < operations; ++i) {
    std::uint64_t offset = below(size);
    std::uint64_t length = 1 + below(std::min<std::uint64_t>(size - offset, 300'000));
    if (below(2) == 0) {
      offset = offset / 4096 * 4096;
      length = std::min((length + 4095) / 4096 * 4096, size - offset);
    }
    switch (below(5)) {
      case 0:
        image.write(offset, Bytes(length));
        break;
      case 1:
        image.write_zeroes(offset, length, below(2) == 0);
        break;
      case 2:
        image.discard(offset, length);
        break;
      default:
        image.write(offset, data_bytes(length, random));
    }
  }
}

}  // namespace qcowkit::test
