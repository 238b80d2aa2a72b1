// A storage in memory that plays a file system which shares blocks, and counts what is asked of it.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "storage/memory_storage.h"

namespace qcowkit::test {

/// What was asked of one or several storages. Thread-safe.
struct Traffic {
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> read_bytes{0};
  std::atomic<std::uint64_t> writes{0};
  std::atomic<std::uint64_t> written_bytes{0};
  std::atomic<std::uint64_t> clones{0};
  std::atomic<std::uint64_t> cloned_bytes{0};
  std::atomic<std::uint64_t> refused_clones{0};
};

/// Clones whole blocks of 4096 bytes from others of its kind, if it is made to.
class CloningStorage final : public Storage {
 public:
  static constexpr std::uint64_t kBlockBytes = 4096;

  CloningStorage(bool can_clone, std::shared_ptr<Traffic> traffic)
      : can_clone_(can_clone), traffic_(std::move(traffic)) {}

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override {
    ++traffic_->reads;
    for (const iovec& buffer : into) traffic_->read_bytes += buffer.iov_len;
    behind_.readv(host_offset, into);
  }
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override {
    ++traffic_->writes;
    for (const iovec& buffer : from) traffic_->written_bytes += buffer.iov_len;
    behind_.writev(host_offset, from);
  }
  std::uint64_t clone_from(Storage& source, std::uint64_t source_host_offset,
                           std::uint64_t host_offset, std::uint64_t length_bytes) override {
    if (!can_clone_) {
      ++traffic_->refused_clones;
      return 0;
    }
    if (source_host_offset % kBlockBytes != 0 || host_offset % kBlockBytes != 0) return 0;
    const std::uint64_t cloned = length_bytes / kBlockBytes * kBlockBytes;
    if (cloned == 0) return 0;
    std::vector<std::byte> bytes(cloned);
    auto& behind = dynamic_cast<CloningStorage&>(source).behind_;
    behind.read(source_host_offset, bytes);
    behind_.write(host_offset, bytes);
    ++traffic_->clones;
    traffic_->cloned_bytes += cloned;
    return cloned;
  }

  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override {
    return behind_.write_zeroes(host_offset, length_bytes, options);
  }
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override {
    behind_.discard(host_offset, length_bytes);
  }
  void flush() override {}
  void resize(std::uint64_t new_size_bytes, Preallocation preallocation) override {
    behind_.resize(new_size_bytes, preallocation);
  }
  std::uint64_t size() const override { return behind_.size(); }
  std::uint64_t allocated_bytes() const override { return behind_.allocated_bytes(); }
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override {
    return behind_.extent_at(host_offset, length_bytes);
  }
  bool can_grow() const noexcept override { return true; }
  bool is_read_only() const noexcept override { return false; }
  const std::string& name() const noexcept override { return behind_.name(); }
  void close() override {}

 private:
  const bool can_clone_;
  const std::shared_ptr<Traffic> traffic_;
  MemoryStorage behind_{"cloning"};
};

}  // namespace qcowkit::test
