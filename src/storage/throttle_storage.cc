// The driver "throttle": requests wait until their group's limits allow them.
#include "storage/throttle_storage.h"

#include <algorithm>
#include <utility>

#include "storage/forwarding_storage.h"
#include "storage/iovec_cursor.h"

namespace qcowkit {

namespace {

class ThrottleStorage final : public ForwardingStorage {
 public:
  ThrottleStorage(std::unique_ptr<Storage> child, std::shared_ptr<ThrottleGroup> group)
      : ForwardingStorage(std::move(child)), group_(std::move(group)) {}

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override {
    group_->wait(ThrottleDirection::read, total_bytes(into));
    ForwardingStorage::readv(host_offset, into);
  }
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override {
    group_->wait(ThrottleDirection::write, total_bytes(from));
    ForwardingStorage::writev(host_offset, from);
  }
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override {
    group_->wait(ThrottleDirection::write, length_bytes);
    return ForwardingStorage::write_zeroes(host_offset, length_bytes, options);
  }
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override {
    // What lies past the end is no work, and may be said to be endless.
    const std::uint64_t end = size();
    if (host_offset >= end) return;
    length_bytes = std::min(length_bytes, end - host_offset);
    group_->wait(ThrottleDirection::write, length_bytes);
    ForwardingStorage::discard(host_offset, length_bytes);
  }

 private:
  const std::shared_ptr<ThrottleGroup> group_;
};

}  // namespace

std::unique_ptr<Storage> make_throttle_storage(std::unique_ptr<Storage> child,
                                               std::shared_ptr<ThrottleGroup> group) {
  return std::make_unique<ThrottleStorage>(std::move(child), std::move(group));
}

}  // namespace qcowkit
