#include "formats/qcow2/check_counts.h"

#include <fmt/core.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/checked.h"
#include "qcowkit/error.h"

namespace qcowkit::qcow2 {

namespace {

constexpr std::uint64_t broadcast(std::uint8_t byte) noexcept {
  return byte * std::uint64_t{0x0101010101010101};
}

std::uint32_t width_for(std::uint64_t typical_count_max) noexcept {
  if (typical_count_max < ReferenceCounts::kNarrowSpill) return 1;
  return typical_count_max < (1u << 14) - 1 ? 2 : 4;
}

}  // namespace

SparseMemory::SparseMemory(std::uint64_t size_bytes)
    : size_(std::max<std::uint64_t>(size_bytes, 1)) {
  void* memory = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw Error(Errc::limit_exceeded,
                fmt::format("check: no memory for the reference counts ({} bytes)", size_));
  }
  data_ = static_cast<std::uint8_t*>(memory);
}

SparseMemory::~SparseMemory() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

SparseMemory::SparseMemory(SparseMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}

SparseMemory& SparseMemory::operator=(SparseMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

ReferenceCounts::ReferenceCounts(std::uint64_t clusters, std::uint64_t typical_count_max)
    : clusters_(clusters), width_(width_for(typical_count_max)) {
  if (clusters > kClustersMax) {
    throw Error(Errc::limit_exceeded,
                fmt::format("check: the file has {} clusters, more than the {} that can be checked",
                            clusters, kClustersMax));
  }
  cells_ = SparseMemory(clusters * width_);
  touched_.resize(divide_round_up(clusters, std::uint64_t{1} << kChunkBits));
}

std::uint32_t ReferenceCounts::cell(std::uint64_t cluster) const noexcept {
  const std::uint8_t* at = cells_.data() + cluster * width_;
  if (width_ == 1) return *at;
  if (width_ == 2) {
    std::uint16_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  std::uint32_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

void ReferenceCounts::set_cell(std::uint64_t cluster, std::uint32_t value) noexcept {
  std::uint8_t* at = cells_.data() + cluster * width_;
  if (width_ == 1) {
    *at = static_cast<std::uint8_t>(value);
  } else if (width_ == 2) {
    const auto narrowed = static_cast<std::uint16_t>(value);
    std::memcpy(at, &narrowed, sizeof narrowed);
  } else {
    std::memcpy(at, &value, sizeof value);
  }
}

std::uint64_t ReferenceCounts::count(std::uint64_t cluster) const noexcept {
  const std::uint32_t inline_count = cell(cluster) & spill_mark();
  if (inline_count != spill_mark()) return inline_count;
  return spilled_.find(cluster)->second;
}

void ReferenceCounts::set_claims(std::uint64_t cluster, std::uint8_t claims) noexcept {
  set_cell(cluster, (cell(cluster) & spill_mark()) | std::uint32_t{claims} << count_bits());
}

bool ReferenceCounts::may_have(std::uint64_t first, std::uint64_t n) const noexcept {
  const std::uint64_t end = std::min(first + n, clusters_);
  if (first >= end) return false;
  for (std::uint64_t chunk = first >> kChunkBits; chunk <= (end - 1) >> kChunkBits; ++chunk) {
    if (touched_[chunk]) return true;
  }
  return false;
}

void ReferenceCounts::add(std::uint64_t first, std::uint64_t n, std::uint64_t weight,
                          std::uint8_t claims) {
  if (n == 0) return;
  for (std::uint64_t chunk = first >> kChunkBits; chunk <= (first + n - 1) >> kChunkBits; ++chunk) {
    touched_[chunk] = true;
  }
  if (width_ == 1 && weight < kNarrowSpill) {
    add_narrow(first, n, weight, claims);
  } else {
    for (std::uint64_t i = 0; i < n; ++i) add_one(first + i, weight, claims);
  }
}

void ReferenceCounts::add_narrow(std::uint64_t first, std::uint64_t n, std::uint64_t weight,
                                 std::uint8_t claims) {
  const auto small = static_cast<std::uint8_t>(weight);
  const std::uint64_t counts_of = broadcast(kNarrowSpill);
  const std::uint64_t headroom = broadcast(static_cast<std::uint8_t>(small + 1));
  const std::uint64_t claims_of_8 =
      broadcast(static_cast<std::uint8_t>(claims << kNarrowCountBits));
  std::uint64_t i = 0;
  while (i + 8 <= n && width_ == 1) {
    std::uint8_t* at = cells_.data() + first + i;
    std::uint64_t eight;
    std::memcpy(&eight, at, sizeof eight);
    // A count that would reach the mark carries into its claim bits here.
    if (((((eight & counts_of) + headroom) & ~counts_of)) == 0) {
      eight = (eight + broadcast(small)) | claims_of_8;
      std::memcpy(at, &eight, sizeof eight);
    } else {
      for (std::uint64_t k = 0; k < 8; ++k) add_one(first + i + k, weight, claims);
    }
    i += 8;
  }
  for (; i < n; ++i) add_one(first + i, weight, claims);
}

void ReferenceCounts::add_one(std::uint64_t cluster, std::uint64_t weight, std::uint8_t claims) {
  const std::uint32_t now = cell(cluster);
  const std::uint32_t mark = spill_mark();
  const std::uint32_t claims_now = (now & ~mark) | std::uint32_t{claims} << count_bits();
  if ((now & mark) == mark) {
    spilled_[cluster] += weight;
    set_cell(cluster, claims_now | mark);
    return;
  }
  const std::uint64_t sum = (now & mark) + weight;
  if (sum < mark) {
    set_cell(cluster, claims_now | static_cast<std::uint32_t>(sum));
    return;
  }
  spilled_[cluster] = sum;
  set_cell(cluster, claims_now | mark);
  if (spilled_.size() > kSpilledMax && width_ < 4) widen();
}

void ReferenceCounts::remove(std::uint64_t first, std::uint64_t n) {
  for (std::uint64_t cluster = first; cluster < first + n; ++cluster) {
    const std::uint64_t rest = count(cluster) - 1;
    const std::uint32_t claims_now = cell(cluster) & ~spill_mark();
    spilled_.erase(cluster);
    if (rest < spill_mark()) {
      set_cell(cluster, claims_now | static_cast<std::uint32_t>(rest));
    } else {
      spilled_[cluster] = rest;
    }
  }
}

void ReferenceCounts::widen() {
  ReferenceCounts wider(clusters_, width_ == 1 ? kNarrowSpill : std::uint64_t{1} << 14);
  const std::uint64_t chunk_size = std::uint64_t{1} << kChunkBits;
  for (std::uint64_t chunk = 0; chunk < touched_.size(); ++chunk) {
    if (!touched_[chunk]) continue;
    const std::uint64_t end = std::min((chunk + 1) * chunk_size, clusters_);
    for (std::uint64_t cluster = chunk * chunk_size; cluster < end; ++cluster) {
      if (cell(cluster) != 0) wider.add(cluster, 1, count(cluster), claims(cluster));
    }
  }
  *this = std::move(wider);
}

}  // namespace qcowkit::qcow2
