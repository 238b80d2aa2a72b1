// Copies by letting the target's file share the blocks of the source's.
#include "jobs/clone.h"

#include <algorithm>

#include "base/buffer.h"
#include "base/checked.h"

namespace qcowkit {

namespace {

constexpr std::uint64_t kBufferBytes = 256 << 10;

/// Copies what could not be shared through a buffer.
void read_and_write(Image& source, std::uint64_t source_offset, Storage& into,
                    std::uint64_t host_offset, std::uint64_t length_bytes) {
  Buffer buffer(std::min(length_bytes, kBufferBytes));
  for (std::uint64_t done = 0; done < length_bytes;) {
    const auto step =
        buffer.span().first(std::min<std::uint64_t>(length_bytes - done, buffer.size()));
    source.read(source_offset + done, step);
    into.write(host_offset + done, step);
    done += step.size();
  }
}

}  // namespace

Cloner::Verdict Cloner::verdict(const Storage* source) const {
  MutexLock lock(mutex_);
  for (const auto& [storage, verdict] : verdicts_) {
    if (storage == source) return verdict;
  }
  return Verdict::untried;
}

void Cloner::remember(const Storage* source, Verdict verdict) {
  MutexLock lock(mutex_);
  for (auto& known : verdicts_) {
    if (known.first != source) continue;
    known.second = verdict;
    return;
  }
  verdicts_.emplace_back(source, verdict);
}

// Returns how many bytes from the extent's start are shared now.
std::uint64_t Cloner::clone_extent(const Extent& extent, Storage& into, std::uint64_t host_offset) {
  if (extent.kind != ExtentKind::data || extent.storage == nullptr || !extent.host_offset ||
      verdict(extent.storage) == Verdict::impossible ||
      !is_aligned(*extent.host_offset | host_offset, kAlignment)) {
    return 0;
  }
  const std::uint64_t cloned =
      into.clone_from(*extent.storage, *extent.host_offset, host_offset, extent.length_bytes);
  if (cloned > 0) {
    remember(extent.storage, Verdict::possible);
  } else if (extent.length_bytes >= kAlignment) {
    remember(extent.storage, Verdict::impossible);
  }
  return cloned;
}

void Cloner::move(const GuestMove& range, Image& target, std::span<const std::byte> bytes) {
  const auto fill = [&](Storage& storage, std::uint64_t host_offset, std::uint64_t guest_offset,
                        std::uint64_t length_bytes) {
    const std::uint64_t skipped = guest_offset - range.target_offset;
    const Image::Pin pin = range.source->pin();
    for (std::uint64_t done = 0; done < length_bytes;) {
      const std::uint64_t source_offset = range.source_offset + skipped + done;
      const Extent extent = range.source->map(source_offset, length_bytes - done);
      const std::uint64_t cloned = clone_extent(extent, storage, host_offset + done);
      const std::uint64_t rest = extent.length_bytes - cloned;
      if (rest > 0 && !bytes.empty()) {
        storage.write(host_offset + done + cloned, bytes.subspan(skipped + done + cloned, rest));
      } else if (rest > 0) {
        read_and_write(*range.source, source_offset + cloned, storage, host_offset + done + cloned,
                       rest);
      }
      done += extent.length_bytes;
    }
  };
  target.write_in_place(range.target_offset, range.length_bytes, fill);
}

}  // namespace qcowkit
