// A storage that tells of every change made to it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "storage/forwarding_storage.h"

namespace qcowkit::test {

/// As thread-safe as what it calls back.
class WatchedStorage final : public ForwardingStorage {
 public:
  /// Called after each change, with the host offset at which it begins.
  using OnChange = std::function<void(std::uint64_t host_offset)>;

  WatchedStorage(std::unique_ptr<Storage> behind, OnChange on_change)
      : ForwardingStorage(std::move(behind)), on_change_(std::move(on_change)) {}

  void writev(std::uint64_t host_offset, std::span<const iovec> from) override {
    ForwardingStorage::writev(host_offset, from);
    on_change_(host_offset);
  }
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override {
    const bool done = ForwardingStorage::write_zeroes(host_offset, length_bytes, options);
    if (done) on_change_(host_offset);
    return done;
  }
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override {
    ForwardingStorage::discard(host_offset, length_bytes);
    on_change_(host_offset);
  }
  void resize(std::uint64_t new_size_bytes, Preallocation preallocation) override {
    ForwardingStorage::resize(new_size_bytes, preallocation);
    on_change_(new_size_bytes);
  }

 private:
  const OnChange on_change_;
};

}  // namespace qcowkit::test
