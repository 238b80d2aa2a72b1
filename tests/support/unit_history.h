// Which values a reader may see while many threads write.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace qcowkit::test {

/// A disk in units, each of which holds one value at a time: a stamp, written all over it, or zero.
/// For each unit it is known which value was being written when. A read may return what was written
/// last before it began, or anything that was being written meanwhile.
///
/// Thread-safe.
class UnitHistory {
 public:
  using Value = std::uint64_t;  ///< 0: zeroes
  static constexpr std::uint64_t kUnitBytes = 128;

  /// `initial` has the value of each unit.
  explicit UnitHistory(std::span<const Value> initial);

  /// The moment, by which what began before it is told from what began after it.
  std::uint64_t now() noexcept { return clock_.fetch_add(1); }

  /// Call before a write of the units [first, end) is made, and, with its result, after it has
  /// returned.
  std::uint64_t begin_write(std::uint64_t first, std::uint64_t end, Value value);
  void end_write(std::uint64_t first, std::uint64_t end, std::uint64_t began);

  /// What is wrong with `bytes`, read from unit `first` on between `began` and now, if anything is.
  std::optional<std::string> judge(std::uint64_t first, std::span<const std::byte> bytes,
                                   std::uint64_t began);

  static void fill(std::span<std::byte> bytes, Value value);

 private:
  static constexpr std::uint64_t kNotYet = std::numeric_limits<std::uint64_t>::max();
  struct Write {
    Value value;
    std::uint64_t began;
    std::uint64_t ended;
  };
  struct Unit {
    std::mutex mutex;
    std::vector<Write> writes;
  };

  static bool is_legal(const std::vector<Write>& writes, Value value, std::uint64_t read_began);

  std::atomic<std::uint64_t> clock_{1};
  std::vector<Unit> units_;
};

}  // namespace qcowkit::test
