#include "formats/encrypted_io.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

#include "base/buffer.h"
#include "base/checked.h"

namespace qcowkit {

namespace {

using SectorBuffer = std::array<std::byte, kSectorBytes>;

/// What is encrypted and written at once: large enough for few requests, small enough to stay in
/// the processor's cache in between.
constexpr std::uint64_t kBounceBytes = 128 * 1024;

iovec buffer_of(std::span<std::byte> bytes) noexcept { return {bytes.data(), bytes.size()}; }

std::uint64_t sector_of(std::uint64_t cipher_offset) noexcept {
  return cipher_offset / kSectorBytes;
}

/// How a range lies to the sectors: part of one at the start, whole ones, part of one at the end.
/// A range within one sector is all head.
struct Parts {
  Parts(std::uint64_t cipher_offset, std::uint64_t length_bytes) noexcept
      : skipped(cipher_offset % kSectorBytes) {
    const bool has_head = skipped != 0 || length_bytes < kSectorBytes;
    head = has_head ? std::min(kSectorBytes - skipped, length_bytes) : 0;
    tail = (length_bytes - head) % kSectorBytes;
    whole = length_bytes - head - tail;
  }
  std::uint64_t skipped;  ///< bytes of the first sector before the range
  std::uint64_t head;
  std::uint64_t whole;
  std::uint64_t tail;
};

/// Makes the sector plain, with the sector of the run's first byte.
void read_sector(const EncryptedRun& run, SectorBuffer& sector) {
  const std::uint64_t skipped = run.cipher_offset % kSectorBytes;
  run.storage.read(run.host_offset.value - skipped, sector);
  run.cipher.decrypt(sector_of(run.cipher_offset), sector);
}

/// Encrypts and writes the sectors that a range touches. `fill(plain, from)` provides the plain
/// bytes of the range from its byte `from` on.
template <typename Fill>
void write_sectors(const EncryptedRun& run, std::uint64_t length_bytes, Fill fill) {
  const std::uint64_t skipped = run.cipher_offset % kSectorBytes;
  const std::uint64_t covered = align_up(skipped + length_bytes, kSectorBytes);
  Buffer bounce(std::min(covered, kBounceBytes));
  for (std::uint64_t at = 0; at < covered; at += bounce.size()) {
    const std::span<std::byte> sectors =
        bounce.span().first(std::min<std::uint64_t>(bounce.size(), covered - at));
    // The range's part of these sectors, as offsets from the first one's start.
    const std::uint64_t begin = at == 0 ? skipped : 0;
    const std::uint64_t end = std::min<std::uint64_t>(sectors.size(), skipped + length_bytes - at);
    const EncryptedRun first = {run.storage,
                                run.cipher,
                                {run.host_offset.value - skipped + at},
                                run.cipher_offset - skipped + at};
    SectorBuffer edge;
    if (begin != 0) {
      read_sector(first, edge);
      std::memcpy(sectors.data(), edge.data(), edge.size());
    }
    if (end != sectors.size() && (begin == 0 || sectors.size() > kSectorBytes)) {
      read_sector(first.from(sectors.size() - kSectorBytes), edge);
      std::memcpy(sectors.data() + sectors.size() - kSectorBytes, edge.data(), edge.size());
    }
    fill(sectors.subspan(begin, end - begin), at + begin - skipped);
    run.cipher.encrypt(sector_of(first.cipher_offset), sectors);
    run.storage.write(first.host_offset.value, sectors);
  }
}

}  // namespace

void read_encrypted(const EncryptedRun& run, std::span<std::byte> into) {
  assert(run.host_offset.value % kSectorBytes == run.cipher_offset % kSectorBytes);
  if (into.empty()) return;
  const Parts parts(run.cipher_offset, into.size());
  SectorBuffer head, tail;
  std::array<iovec, 3> buffers;
  std::size_t count = 0;
  if (parts.head != 0) buffers[count++] = buffer_of(head);
  if (parts.whole != 0) buffers[count++] = buffer_of(into.subspan(parts.head, parts.whole));
  if (parts.tail != 0) buffers[count++] = buffer_of(tail);
  run.storage.readv(run.host_offset.value - parts.skipped, std::span(buffers).first(count));

  if (parts.head != 0) {
    run.cipher.decrypt(sector_of(run.cipher_offset), head);
    std::memcpy(into.data(), head.data() + parts.skipped, parts.head);
  }
  run.cipher.decrypt(sector_of(run.cipher_offset + parts.head),
                     into.subspan(parts.head, parts.whole));
  if (parts.tail != 0) {
    run.cipher.decrypt(sector_of(run.cipher_offset + parts.head + parts.whole), tail);
    std::memcpy(into.data() + parts.head + parts.whole, tail.data(), parts.tail);
  }
}

void write_encrypted(const EncryptedRun& run, std::span<const std::byte> from) {
  assert(run.host_offset.value % kSectorBytes == run.cipher_offset % kSectorBytes);
  write_sectors(run, from.size(), [from](std::span<std::byte> plain, std::uint64_t at) {
    std::memcpy(plain.data(), from.data() + at, plain.size());
  });
}

void write_encrypted_zeroes(const EncryptedRun& run, std::uint64_t length_bytes) {
  assert(run.host_offset.value % kSectorBytes == run.cipher_offset % kSectorBytes);
  write_sectors(run, length_bytes, [](std::span<std::byte> plain, std::uint64_t) {
    std::memset(plain.data(), 0, plain.size());
  });
}

}  // namespace qcowkit
