#include "export/nbd/served_export.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>

#include "base/nbd_wire.h"

namespace qcowkit::nbd {

namespace {

constexpr std::uint32_t kPreferredBytesMin = 4096;

[[noreturn]] void refuse(const NbdExport& wanted, const std::string& why) {
  throw Error(Errc::invalid_argument, fmt::format("export \"{}\": {}", wanted.name, why));
}

void require_string(const NbdExport& wanted, const std::string& text, const char* what) {
  if (text.size() > kStringBytesMax) {
    refuse(wanted, fmt::format("its {} has {} bytes, at most {} can be sent", what, text.size(),
                               kStringBytesMax));
  }
  if (text.find('\0') != std::string::npos) {
    refuse(wanted, fmt::format("its {} has a zero byte in it", what));
  }
}

void require_bitmaps(const NbdExport& wanted) {
  if (wanted.bitmaps.empty()) return;
  const std::vector<BitmapInfo> present = wanted.image->bitmaps();
  for (const std::string& name : wanted.bitmaps) {
    const auto found = std::find_if(present.begin(), present.end(),
                                    [&](const BitmapInfo& info) { return info.name == name; });
    if (found == present.end()) refuse(wanted, fmt::format("there is no bitmap \"{}\"", name));
    if (found->in_use) refuse(wanted, fmt::format("bitmap \"{}\" was not saved", name));
    require_string(wanted, kDirtyBitmapPrefix + name, "bitmap's context name");
  }
}

std::uint64_t window_size(const NbdExport& wanted) {
  const std::uint64_t disk = wanted.image->virtual_size();
  if (wanted.guest_offset > disk) {
    refuse(wanted,
           fmt::format("offset {} is beyond the disk's end at {}", wanted.guest_offset, disk));
  }
  const std::uint64_t rest = disk - wanted.guest_offset;
  const std::uint64_t size = wanted.size_bytes.value_or(rest);
  if (size > rest) {
    refuse(wanted, fmt::format("{} bytes from offset {} reach beyond the disk's end at {}", size,
                               wanted.guest_offset, disk));
  }
  return size;
}

NbdExport checked(NbdExport wanted) {
  if (wanted.image == nullptr) refuse(wanted, "it has no image");
  require_string(wanted, wanted.name, "name");
  require_string(wanted, wanted.description, "description");
  require_bitmaps(wanted);
  wanted.size_bytes = window_size(wanted);
  return wanted;
}

}  // namespace

ServedExport::ServedExport(const NbdExport& wanted, bool serves_many)
    : name(checked(wanted).name),
      description(wanted.description),
      image(*wanted.image),
      serves_many_clients(serves_many),
      read_only(wanted.read_only || wanted.image->is_read_only()),
      guest_offset(wanted.guest_offset),
      size_bytes(window_size(wanted)),
      block_bytes_min(size_bytes % wanted.block_bytes_min == 0 ? wanted.block_bytes_min : 1),
      preferred_block_bytes(std::clamp(std::bit_ceil(wanted.image->data_storage().alignment()),
                                       kPreferredBytesMin, kPayloadBytesDefault)),
      contexts(contexts_of(wanted)) {}

std::uint16_t ServedExport::base_flags() const noexcept {
  using namespace transmission_flag;
  std::uint16_t flags = kHasFlags | kSendFlush | kSendFua | kSendCache;
  // One engine serves all connections, and its flush covers what any of them wrote. But where there
  // is room for one only, a client that is told so waits for ever.
  if (serves_many_clients) flags |= kCanMultiConn;
  if (read_only) {
    flags |= kReadOnly;
  } else {
    flags |= kSendTrim | kSendWriteZeroes | kSendFastZero;
  }
  return flags;
}

}  // namespace qcowkit::nbd
