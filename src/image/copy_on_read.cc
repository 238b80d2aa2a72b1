// The driver "copy-on-read": what was read from a backing file is kept in the image.
#include "image/copy_on_read.h"

#include <algorithm>
#include <utility>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/range_lock.h"
#include "image/changes_held_storage.h"
#include "qcowkit/error.h"
#include "storage/iovec_cursor.h"

namespace qcowkit {

namespace {

/// At most so much is copied at once, and its range kept from writers meanwhile.
constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;

/// A copy must not overwrite what the guest has written since its source was read. So a copy holds
/// its range exclusively from when it looks at the image's own layer until it has written, and
/// whatever else changes the disk holds its range shared. Reads of what is allocated hold nothing.
class CopyOnReadStorage final : public ChangesHeldStorage {
 public:
  CopyOnReadStorage(std::unique_ptr<Image> image, const CopyOnReadOptions& options)
      : ChangesHeldStorage(std::move(image), kChanging), options_(options) {}

  void writev(std::uint64_t host_offset, std::span<const iovec> from) override {
    const Range range(ranges(), host_offset, host_offset + total_bytes(from), kChanging);
    ImageStorage::writev(host_offset, from);
  }
  /// Zeroes that are to be copied are none yet: whoever knows of a hole need not read it.
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override {
    StorageExtent found = ImageStorage::extent_at(host_offset, length_bytes);
    if (found.is_hole && host_offset < size() && image().cluster_size() != 0) {
      found.is_hole = !is_to_be_copied(map(host_offset, found.length_bytes));
    }
    return found;
  }

 protected:
  void read_guest(std::uint64_t guest_offset, std::span<std::byte> into) override;

 private:
  static constexpr RangeLock::Mode kChanging = RangeLock::Mode::shared;

  bool is_to_be_copied(const Extent& extent) const;
  void copy_clusters(std::uint64_t first, std::uint64_t end);
  void copy(std::uint64_t guest_offset, std::uint64_t length_bytes);
  Extent map(std::uint64_t guest_offset, std::uint64_t length_bytes) const;

  const CopyOnReadOptions options_;
};

void CopyOnReadStorage::read_guest(std::uint64_t guest_offset, std::span<std::byte> into) {
  const std::uint64_t cluster_size = image().cluster_size();
  const std::uint64_t end = guest_offset + into.size();
  // A format without clusters has all there is.
  for (std::uint64_t at = cluster_size == 0 ? end : guest_offset; at < end;) {
    const Extent extent = map(at, std::min(end - at, kPieceBytes));
    const std::uint64_t extent_end = at + extent.length_bytes;
    if (is_to_be_copied(extent)) {
      copy_clusters(align_down(at, cluster_size), align_up(extent_end, cluster_size));
    }
    at = extent_end;
  }
  ImageStorage::read_guest(guest_offset, into);
}

/// What decides over the range's first byte in the whole chain.
Extent CopyOnReadStorage::map(std::uint64_t guest_offset, std::uint64_t length_bytes) const {
  return image().map(guest_offset, length_bytes);
}

bool CopyOnReadStorage::is_to_be_copied(const Extent& extent) const {
  if (!options_.bottom_depth) return extent.depth > 0 || extent.kind == ExtentKind::unallocated;
  return extent.depth > 0 && extent.depth <= *options_.bottom_depth &&
         extent.kind != ExtentKind::unallocated;
}

/// Copies what is not in the image's own layer of whole clusters.
void CopyOnReadStorage::copy_clusters(std::uint64_t first, std::uint64_t end) {
  const Range range(ranges(), first, end, RangeLock::Mode::exclusive);
  end = std::min(end, size());
  while (first < end) {
    const Extent own = image().map_layer(first, end - first);
    std::uint64_t run_end = first + own.length_bytes;
    if (own.kind == ExtentKind::unallocated) {
      const Extent source = map(first, own.length_bytes);
      // Layers may have clusters of different sizes: what is copied are those of this one.
      run_end = std::min(run_end, align_up(first + source.length_bytes, image().cluster_size()));
      if (is_to_be_copied(source)) copy(first, run_end - first);
    }
    first = run_end;
  }
}

void CopyOnReadStorage::copy(std::uint64_t guest_offset, std::uint64_t length_bytes) {
  Buffer content(length_bytes);
  image().read(guest_offset, content.span());
  raise(Event::cor_write, guest_offset, length_bytes);
  const auto is_zero = [](std::byte byte) { return byte == std::byte{0}; };
  if (std::ranges::all_of(content.span(), is_zero)) {
    image().write_zeroes(guest_offset, length_bytes, /*may_unmap=*/true);
  } else {
    image().write(guest_offset, content.span());
  }
}

}  // namespace

std::unique_ptr<Storage> make_copy_on_read_storage(std::unique_ptr<Image> image,
                                                   const CopyOnReadOptions& options) {
  if (image->is_read_only()) throw Error(Errc::read_only, "Block node is read-only");
  return std::make_unique<CopyOnReadStorage>(std::move(image), options);
}

}  // namespace qcowkit
