// A block of bytes with an alignment, not initialised, of which one owner takes care.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>

namespace qcowkit {

/// Memory that is fit for direct I/O: page-aligned unless asked for otherwise. Its bytes are
/// indeterminate until written.
class Buffer {
 public:
  static constexpr std::size_t kAlignment = 4096;

  Buffer() = default;
  /// `alignment` is a power of two, and at least a pointer's size.
  explicit Buffer(std::size_t size_bytes, std::size_t alignment = kAlignment)
      : data_(allocate(size_bytes, alignment)), size_(size_bytes) {}

  std::byte* data() noexcept { return data_.get(); }
  const std::byte* data() const noexcept { return data_.get(); }
  std::size_t size() const noexcept { return size_; }
  std::span<std::byte> span() noexcept { return {data(), size_}; }
  std::span<const std::byte> span() const noexcept { return {data(), size_}; }

 private:
  static std::byte* allocate(std::size_t size_bytes, std::size_t alignment) {
    void* data = nullptr;
    if (::posix_memalign(&data, alignment, size_bytes) != 0) throw std::bad_alloc();
    return static_cast<std::byte*>(data);
  }
  struct Free {
    void operator()(std::byte* p) const noexcept { std::free(p); }
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace qcowkit
