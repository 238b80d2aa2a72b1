#include "tests/formats/qcow2/create_fixture.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace qcowkit::test {

CreateOptions options_of(std::uint64_t size_bytes) {
  CreateOptions options;
  options.format = "qcow2";
  options.size_bytes = size_bytes;
  return options;
}

const char* name_of(Preallocation preallocation) {
  switch (preallocation) {
    case Preallocation::metadata:
      return "metadata";
    case Preallocation::falloc:
      return "falloc";
    case Preallocation::full:
      return "full";
    default:
      return "off";
  }
}

bool is_same(Storage& a, Storage& b) {
  if (a.size() != b.size()) return false;
  std::vector<std::byte> bytes_a(1 << 20);
  std::vector<std::byte> bytes_b(1 << 20);
  for (std::uint64_t at = 0; at < a.size();) {
    const StorageExtent x = a.extent_at(at, bytes_a.size());
    const StorageExtent y = b.extent_at(at, bytes_a.size());
    const std::uint64_t length = std::min({x.length_bytes, y.length_bytes, a.size() - at});
    if (!x.is_hole || !y.is_hole) {
      const auto part_a = std::span(bytes_a).first(length);
      const auto part_b = std::span(bytes_b).first(length);
      a.read(at, part_a);
      b.read(at, part_b);
      if (!std::ranges::equal(part_a, part_b)) return false;
    }
    at += length;
  }
  return true;
}

}  // namespace qcowkit::test
