// The driver "compress": whatever is written is stored compressed.
#include "image/compress_filter.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/range_lock.h"
#include "image/changes_held_storage.h"
#include "qcowkit/error.h"

namespace qcowkit {

namespace {

/// A cluster is written whole, so one that is written in part is read first; nobody else may
/// change it until it is written back. Whatever changes the disk holds its clusters meanwhile.
class CompressFilter final : public ChangesHeldStorage {
 public:
  explicit CompressFilter(std::unique_ptr<Image> image)
      : ChangesHeldStorage(std::move(image), RangeLock::Mode::exclusive) {}

 protected:
  void write_guest(std::uint64_t guest_offset, std::span<const std::byte> from) override;

 private:
  void write_cluster(std::uint64_t guest_offset, std::span<const std::byte> cluster);
  void write_part(std::uint64_t cluster_start, std::uint64_t cluster_bytes,
                  std::uint64_t guest_offset, std::span<const std::byte> from);
};

void CompressFilter::write_guest(std::uint64_t guest_offset, std::span<const std::byte> from) {
  const std::uint64_t cluster_size = image().cluster_size();
  while (!from.empty()) {
    const std::uint64_t start = align_down(guest_offset, cluster_size);
    const Range range(ranges(), start, start + cluster_size, RangeLock::Mode::exclusive);
    const std::uint64_t bytes = std::min(cluster_size, size() - start);
    const std::uint64_t length = std::min<std::uint64_t>(from.size(), start + bytes - guest_offset);
    if (length == bytes) {
      write_cluster(start, from.first(length));
    } else {
      write_part(start, bytes, guest_offset, from.first(length));
    }
    guest_offset += length;
    from = from.subspan(length);
  }
}

void CompressFilter::write_part(std::uint64_t cluster_start, std::uint64_t cluster_bytes,
                                std::uint64_t guest_offset, std::span<const std::byte> from) {
  Buffer cluster(cluster_bytes);
  image().read(cluster_start, cluster.span());
  std::memcpy(cluster.data() + (guest_offset - cluster_start), from.data(), from.size());
  write_cluster(cluster_start, cluster.span());
}

void CompressFilter::write_cluster(std::uint64_t guest_offset, std::span<const std::byte> cluster) {
  image().write_compressed(guest_offset, image().compress(cluster), cluster);
}

}  // namespace

std::unique_ptr<Storage> make_compress_storage(std::unique_ptr<Image> image) {
  if (image->format() != "qcow2" && image->format() != "qcow") {
    throw Error(
        Errc::unsupported,
        fmt::format("Compression is not supported for underlying format: {}", image->format()));
  }
  return std::make_unique<CompressFilter>(std::move(image));
}

}  // namespace qcowkit
