// What every storage can do by means of the interface alone.
#include "qcowkit/storage.h"

namespace qcowkit {

std::uint64_t Storage::copy_from(Storage& /*source*/, std::uint64_t /*source_host_offset*/,
                                 std::uint64_t /*host_offset*/, std::uint64_t /*length_bytes*/) {
  return 0;
}

void Storage::read(std::uint64_t host_offset, std::span<std::byte> into) {
  const iovec buffer{into.data(), into.size()};
  readv(host_offset, {&buffer, 1});
}

void Storage::write(std::uint64_t host_offset, std::span<const std::byte> from) {
  const iovec buffer{const_cast<std::byte*>(from.data()), from.size()};
  writev(host_offset, {&buffer, 1});
}

}  // namespace qcowkit
