// Images for benchmarks: filled with bytes that are neither zeroes nor noise.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <cerrno>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "qcowkit/image.h"

namespace qcowkit::bench {

/// Text-like bytes: deflate makes about a third of them.
inline std::vector<std::byte> realistic_bytes(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes;
  bytes.reserve(count + 64);
  std::vector<std::vector<std::byte>> words(512);
  for (auto& word : words) {
    for (std::uint64_t length = 3 + random() % 12; length > 0; --length) {
      word.push_back(std::byte{static_cast<unsigned char>('a' + random() % 26)});
    }
  }
  while (bytes.size() < count) {
    const auto& word = words[random() % words.size()];
    bytes.insert(bytes.end(), word.begin(), word.end());
    bytes.push_back(std::byte{static_cast<unsigned char>(random() % 100)});
  }
  bytes.resize(count);
  return bytes;
}

/// Where the benchmarked image lies.
enum class Medium { memory, file };

/// A storage of that medium; a file's name is gone from the start.
inline std::unique_ptr<Storage> make_storage(Medium medium) {
  if (medium == Medium::memory) return make_memory_storage();
  const char* folder = std::getenv("TMPDIR");
  std::string path = std::string(folder == nullptr ? "/tmp" : folder) + "/qcowkit-bench-XXXXXX";
  const int fd = ::mkstemp(path.data());
  if (fd < 0) throw os_error(errno, "create " + path);
  FileOptions options;
  options.cache = CacheMode::unsafe;
  auto storage = open_file(path, options);
  std::remove(path.c_str());
  ::close(fd);
  return storage;
}

inline std::unique_ptr<Image> make_qcow2(std::uint64_t size_bytes, Medium medium,
                                         std::uint64_t cluster_size_bytes = 65536,
                                         CompressionType compression = CompressionType::deflate) {
  CreateOptions create;
  create.format = "qcow2";
  create.size_bytes = size_bytes;
  create.cluster_size_bytes = cluster_size_bytes;
  create.compression = compression;
  auto storage = make_storage(medium);
  Image::create(*storage, create);
  OpenOptions open;
  open.format = "qcow2";
  open.read_only = false;
  return Image::open(std::move(storage), open);
}

}  // namespace qcowkit::bench
