#include "formats/metadata_write.h"

#include <algorithm>

namespace qcowkit {

void MetadataWrites::add(HostOffset host_offset, std::span<const std::byte> bytes, Event event) {
  writes_.push_back({host_offset, bytes_.size(), bytes.size(), event});
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

void MetadataWrites::write_to(Storage& storage) {
  std::sort(writes_.begin(), writes_.end(),
            [](const Write& a, const Write& b) { return a.host_offset < b.host_offset; });
  std::vector<iovec> request;
  for (std::size_t i = 0; i < writes_.size();) {
    const HostOffset start = writes_[i].host_offset;
    const Event event = writes_[i].event;
    HostOffset end = start;
    request.clear();
    for (; i < writes_.size() && writes_[i].host_offset == end && writes_[i].event == event; ++i) {
      request.push_back({bytes_.data() + writes_[i].begin, writes_[i].size});
      end += writes_[i].size;
    }
    storage.raise(event, start.value, end - start);
    storage.writev(start.value, request);
  }
}

}  // namespace qcowkit
