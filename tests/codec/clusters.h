// Clusters to compress: bytes of several kinds, and bytes that end where memory ends.
#pragma once

#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace qcowkit::codec::test {

using Bytes = std::vector<std::byte>;

enum class Content { zeroes, text, binary, random };

inline constexpr Content kContents[] = {Content::zeroes, Content::text, Content::binary,
                                        Content::random};

inline const char* name_of(Content content) {
  static constexpr const char* kNames[] = {"zeroes", "text", "binary", "random"};
  return kNames[static_cast<std::size_t>(content)];
}

inline Bytes bytes_of(std::string_view text) {
  const auto all = std::as_bytes(std::span(text));
  return {all.begin(), all.end()};
}

/// `size` bytes, the same ones at each call. `text` and `binary` repeat themselves near and far, so
/// that a compressor with too large a window would look far back.
inline Bytes make_cluster(Content content, std::size_t size) {
  std::minstd_rand random(20);  // a fixed seed: the bytes are part of the test
  Bytes cluster(size);
  switch (content) {
    case Content::zeroes:
      break;
    case Content::text: {
      std::string text;
      while (text.size() < size) {
        text +=
            fmt::format("{} line {} of a text that goes on\n", random() % 4096, text.size() % 977);
      }
      std::memcpy(cluster.data(), text.data(), size);
      break;
    }
    case Content::binary:  // records of little-endian numbers, as tables and machine code have them
      for (std::size_t i = 0; i < size; ++i) {
        cluster[i] = static_cast<std::byte>(i % 8 < 2 ? random() % 256 : i % 8 < 4 ? i / 4096 : 0);
      }
      break;
    case Content::random:
      for (std::byte& b : cluster) b = static_cast<std::byte>(random() >> 8);
      break;
  }
  return cluster;
}

/// A copy of bytes whose last byte is the last of a page, with a page behind it that must not be
/// touched: a read or write past the end ends the test, also from code that no sanitizer sees.
class GuardedBytes {
 public:
  explicit GuardedBytes(std::size_t size) : size_(size) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    mapped_ = (size + page - 1) / page * page + page;
    void* map = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) throw std::bad_alloc();
    map_ = static_cast<std::byte*>(map);
    if (mprotect(map_ + mapped_ - page, page, PROT_NONE) != 0) throw std::bad_alloc();
    data_ = map_ + mapped_ - page - size;
  }
  explicit GuardedBytes(std::span<const std::byte> from) : GuardedBytes(from.size()) {
    std::copy(from.begin(), from.end(), data_);
  }
  ~GuardedBytes() { munmap(map_, mapped_); }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;

  std::span<std::byte> span() { return {data_, size_}; }

 private:
  std::size_t size_;
  std::size_t mapped_;
  std::byte* map_;
  std::byte* data_;
};

}  // namespace qcowkit::codec::test
