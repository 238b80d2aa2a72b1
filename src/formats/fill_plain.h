// Filling runs of guest data for layers that do not store what they are given.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "base/buffer.h"
#include "base/offsets.h"
#include "qcowkit/image.h"
#include "storage/memory_storage.h"

namespace qcowkit {

/// Lets `fill` write into plain memory, and calls `write(guest_offset, bytes)` with what it has
/// written, run by run.
template <typename Write>
void fill_plain(GuestOffset guest_offset, std::uint64_t length_bytes, const Image::FillRun& fill,
                Write write) {
  constexpr std::uint64_t kRunBytesMax = 1 << 20;
  Buffer plain(std::min(length_bytes, kRunBytesMax));
  while (length_bytes > 0) {
    const std::span<std::byte> run = plain.span().first(std::min(length_bytes, kRunBytesMax));
    MemoryStorage filled("a run of plain bytes");
    fill(filled, 0, guest_offset.value, run.size());
    filled.read(0, run);
    write(guest_offset, run);
    guest_offset += run.size();
    length_bytes -= run.size();
  }
}

}  // namespace qcowkit
