// What a guest may find on a disk.
#include "tests/support/guest_model.h"

#include <fmt/core.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

namespace qcowkit::test {

namespace {

/// Calls `visit(guest_offset)` for each byte in which the two differ, until it returns false.
template <typename Visit>
void for_each_difference(std::span<const std::byte> a, std::span<const std::byte> b, Visit visit) {
  constexpr std::size_t kStride = 4096;  // most of it is equal
  for (std::size_t at = 0; at < a.size(); at += kStride) {
    const std::size_t length = std::min(kStride, a.size() - at);
    if (std::memcmp(a.data() + at, b.data() + at, length) == 0) continue;
    for (std::size_t i = at; i < at + length; ++i) {
      if (a[i] != b[i] && !visit(i)) return;
    }
  }
}

std::string wrong_size(std::size_t found, std::size_t expected) {
  return fmt::format("the disk has {} bytes, expected {}", found, expected);
}

std::string wrong_byte(std::size_t guest_offset, std::byte found, std::byte expected) {
  return fmt::format("guest offset {:#x} reads as {:#04x}, expected {:#04x}", guest_offset,
                     static_cast<unsigned>(found), static_cast<unsigned>(expected));
}

}  // namespace

GuestModel::GuestModel(std::vector<std::byte> content)
    : current_(std::move(content)), durable_(current_) {}

void GuestModel::begin(std::uint64_t guest_offset, std::vector<std::byte> bytes) {
  assert(!is_under_way_ && guest_offset + bytes.size() <= size());
  changes_.push_back({guest_offset, std::move(bytes)});
  is_under_way_ = true;
}

void GuestModel::acknowledge() {
  assert(is_under_way_);
  const Change& change = changes_.back();
  std::copy(change.bytes.begin(), change.bytes.end(),
            current_.begin() + static_cast<std::ptrdiff_t>(change.guest_offset));
  is_under_way_ = false;
}

std::optional<std::string> GuestModel::settle(std::span<const std::byte> disk) {
  if (disk.size() != size()) return wrong_size(disk.size(), size());
  std::optional<std::string> wrong;
  for_each_difference(disk, current_, [&](std::size_t i) {
    if (!is_under_way_ || !changes_.back().has(i, disk[i])) {
      wrong = wrong_byte(i, disk[i], current_[i]);
    }
    return !wrong;
  });
  std::copy(disk.begin(), disk.end(), current_.begin());
  is_under_way_ = false;
  return wrong;
}

void GuestModel::flushed() {
  assert(!is_under_way_);
  for (const Change& change : changes_) {
    const auto first = static_cast<std::ptrdiff_t>(change.guest_offset);
    std::copy_n(current_.begin() + first, change.bytes.size(), durable_.begin() + first);
  }
  changes_.clear();
}

std::optional<std::string> GuestModel::compare(std::span<const std::byte> disk) const {
  if (disk.size() != size()) return wrong_size(disk.size(), size());
  std::optional<std::string> wrong;
  for_each_difference(disk, current_, [&](std::size_t i) {
    wrong = wrong_byte(i, disk[i], current_[i]);
    return false;
  });
  return wrong;
}

std::optional<std::string> GuestModel::compare_after_crash(std::span<const std::byte> disk) const {
  if (disk.size() != size()) return wrong_size(disk.size(), size());
  std::optional<std::string> wrong;
  for_each_difference(disk, durable_, [&](std::size_t i) {
    const bool was_written = std::any_of(changes_.begin(), changes_.end(),
                                         [&](const Change& c) { return c.has(i, disk[i]); });
    if (!was_written) {
      wrong =
          wrong_byte(i, disk[i], durable_[i]) + " or what was written there since the last flush";
    }
    return was_written;
  });
  return wrong;
}

std::vector<std::byte> recognisable_bytes(std::uint64_t fill, std::uint64_t guest_offset,
                                          std::uint64_t length_bytes) {
  constexpr std::uint64_t kLineBytes = 32;  // the same eight bytes, four times
  std::vector<std::byte> bytes(length_bytes);
  for (std::uint64_t i = 0; i < length_bytes; ++i) {
    const std::uint64_t offset = guest_offset + i;
    // Two rounds of a multiplicative hash: neighbouring lines and fills have nothing in common.
    std::uint64_t word = (fill * 0x9e3779b97f4a7c15 ^ offset / kLineBytes) * 0xbf58476d1ce4e5b9;
    word = (word ^ word >> 29) * 0x94d049bb133111eb;
    bytes[i] = static_cast<std::byte>(word >> (8 * (offset % 8)));
  }
  return bytes;
}

}  // namespace qcowkit::test
