#include "formats/qcow2/l1_table.h"

#include <span>

#include "base/endian.h"

namespace qcowkit::qcow2 {

std::vector<std::uint64_t> load_l1_table(Storage& storage, HostOffset host_offset,
                                         std::uint64_t entries) {
  std::vector<be64> raw(entries);
  storage.read(host_offset.value, std::as_writable_bytes(std::span(raw)));
  return {raw.begin(), raw.end()};
}

}  // namespace qcowkit::qcow2
