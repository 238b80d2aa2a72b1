// A block of bytes with an alignment, not initialised, of which one owner takes care.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>

namespace qcowkit {

/// Page-aligned memory that is fit for direct I/O. Its bytes are indeterminate until written.
class Buffer {
 public:
  static constexpr std::size_t kAlignment = 4096;

  Buffer() = default;
  explicit Buffer(std::size_t size_bytes)
      : data_(static_cast<std::byte*>(
            ::operator new (size_bytes == 0 ? 1 : size_bytes, std::align_val_t{kAlignment}))),
        size_(size_bytes) {}

  std::byte* data() noexcept { return data_.get(); }
  const std::byte* data() const noexcept { return data_.get(); }
  std::size_t size() const noexcept { return size_; }
  std::span<std::byte> span() noexcept { return {data(), size_}; }
  std::span<const std::byte> span() const noexcept { return {data(), size_}; }

 private:
  struct Free {
    void operator()(std::byte* p) const noexcept {
      ::operator delete (p, std::align_val_t{kAlignment});
    }
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace qcowkit
