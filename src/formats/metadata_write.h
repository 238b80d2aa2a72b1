// Copies of metadata on their way to the disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/offsets.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// A batch of small writes that need no order among themselves. Neighbours that are of one kind go
/// out as one request.
class MetadataWrites {
 public:
  /// `event` is raised before the write.
  void add(HostOffset host_offset, std::span<const std::byte> bytes, Event event);
  bool empty() const noexcept { return writes_.empty(); }
  void write_to(Storage& storage);

 private:
  struct Write {
    HostOffset host_offset;
    std::size_t begin;  // in bytes_
    std::size_t size;
    Event event;
  };
  std::vector<Write> writes_;
  std::vector<std::byte> bytes_;
};

}  // namespace qcowkit
