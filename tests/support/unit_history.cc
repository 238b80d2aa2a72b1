// Which values a reader may see while many threads write.
#include "tests/support/unit_history.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

namespace qcowkit::test {

UnitHistory::UnitHistory(std::span<const Value> initial) : units_(initial.size()) {
  for (std::size_t i = 0; i < initial.size(); ++i) units_[i].writes.push_back({initial[i], 0, 0});
}

std::uint64_t UnitHistory::begin_write(std::uint64_t first, std::uint64_t end, Value value) {
  const std::uint64_t began = now();
  for (std::uint64_t i = first; i < end; ++i) {
    const std::lock_guard lock(units_[i].mutex);
    units_[i].writes.push_back({value, began, kNotYet});
  }
  return began;
}

void UnitHistory::end_write(std::uint64_t first, std::uint64_t end, std::uint64_t began) {
  const std::uint64_t ended = now();
  for (std::uint64_t i = first; i < end; ++i) {
    const std::lock_guard lock(units_[i].mutex);
    for (Write& write : units_[i].writes) {
      if (write.began == began) write.ended = ended;
    }
  }
}

/// A value may be read unless another one was written wholly between it and the read.
bool UnitHistory::is_legal(const std::vector<Write>& writes, Value value,
                           std::uint64_t read_began) {
  return std::any_of(writes.begin(), writes.end(), [&](const Write& candidate) {
    if (candidate.value != value) return false;
    return std::none_of(writes.begin(), writes.end(), [&](const Write& later) {
      return later.began > candidate.ended && later.ended < read_began;
    });
  });
}

std::optional<std::string> UnitHistory::judge(std::uint64_t first, std::span<const std::byte> bytes,
                                              std::uint64_t began) {
  Value last = 0;
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(Value)) {
    Value value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    if (at % kUnitBytes != 0 && value == last) continue;  // nearly always
    last = value;
    Unit& unit = units_[first + at / kUnitBytes];
    const std::lock_guard lock(unit.mutex);
    // Words of one unit may come from different writes, where these overlap in time.
    if (!is_legal(unit.writes, value, began)) {
      return fmt::format(
          "guest offset {:#x} reads as {:#x}, which is not there any more, or never was",
          first * kUnitBytes + at, value);
    }
  }
  return std::nullopt;
}

void UnitHistory::fill(std::span<std::byte> bytes, Value value) {
  for (std::size_t at = 0; at < bytes.size(); at += sizeof value) {
    std::memcpy(bytes.data() + at, &value, sizeof value);
  }
}

}  // namespace qcowkit::test
