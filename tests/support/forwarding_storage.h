// A storage that hands everything on: for tests to override what interests them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "qcowkit/storage.h"

namespace qcowkit::test {

/// As thread-safe as the storage behind it. Copies are not offloaded: they come as writes.
class ForwardingStorage : public Storage {
 public:
  explicit ForwardingStorage(std::unique_ptr<Storage> behind) : behind_(std::move(behind)) {}

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override {
    behind_->readv(host_offset, into);
  }
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override {
    behind_->writev(host_offset, from);
  }
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override {
    return behind_->write_zeroes(host_offset, length_bytes, options);
  }
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override {
    behind_->discard(host_offset, length_bytes);
  }
  void flush() override { behind_->flush(); }
  void resize(std::uint64_t new_size_bytes, Preallocation preallocation) override {
    behind_->resize(new_size_bytes, preallocation);
  }
  std::uint64_t size() const override { return behind_->size(); }
  std::uint64_t allocated_bytes() const override { return behind_->allocated_bytes(); }
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override {
    return behind_->extent_at(host_offset, length_bytes);
  }
  bool can_grow() const noexcept override { return behind_->can_grow(); }
  std::uint32_t alignment() const noexcept override { return behind_->alignment(); }
  bool is_read_only() const noexcept override { return behind_->is_read_only(); }
  const std::string& name() const noexcept override { return behind_->name(); }
  void close() override { behind_->close(); }

 private:
  const std::unique_ptr<Storage> behind_;
};

}  // namespace qcowkit::test
