// Part of qcowkit. MIT licence; see LICENSE.
//
// Limits on how much is read and written, shared by as many storages as are to keep to them.
// Storages join a group by the driver "throttle" (`NodeObjects::throttle_groups`).
//
//   ThrottleLimits limits;
//   limits.bps_total.average = 10 << 20;  // 10 MiB a second
//   groups["slow"] = std::make_shared<ThrottleGroup>("slow", limits);
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace qcowkit {

/// One limit: what may pass in a second, on average and in bursts. Amounts are bytes or requests.
struct ThrottleLimit {
  std::uint64_t average = 0;  ///< a second; 0: without limit
  /// A second, in a burst; 0: no more than a tenth of a second's average at once.
  std::uint64_t maximum = 0;
  std::uint64_t burst_seconds = 1;  ///< how long a burst at `maximum` may last
};

/// What a group keeps to: bytes (bps) and requests (iops) a second. A kind is limited in total or
/// by direction, not both.
struct ThrottleLimits {
  ThrottleLimit bps_total = {};
  ThrottleLimit bps_read = {};
  ThrottleLimit bps_write = {};
  ThrottleLimit iops_total = {};
  ThrottleLimit iops_read = {};
  ThrottleLimit iops_write = {};
  /// A larger request counts as so many requests of this size, in bytes; 0: each counts as one.
  std::uint64_t iops_size_bytes = 0;
};

/// Throws `Error` (invalid_argument) for limits that contradict each other, in the reference's
/// words.
void validate(const ThrottleLimits& limits);

/// Which of a group's limits a request counts for, beside the total.
enum class ThrottleDirection : std::uint8_t { read, write };

/// Requests that keep to limits together. Leaky buckets: a request may pass while its buckets are
/// not full, fills them however large it is, and they leak at their limits' average rate; so
/// requests are never split, and what one has taken too much the next ones wait for.
///
/// Thread-safe. Requests of one direction pass in the order of their arrival.
class ThrottleGroup {
 public:
  using Clock = std::chrono::steady_clock;

  /// Throws as `validate` does.
  ThrottleGroup(std::string name, const ThrottleLimits& limits);
  ~ThrottleGroup();
  ThrottleGroup(const ThrottleGroup&) = delete;
  ThrottleGroup& operator=(const ThrottleGroup&) = delete;

  const std::string& name() const noexcept;
  const ThrottleLimits& limits() const noexcept;

  /// Returns when a request of so many bytes may be made, and counts it. Blocks.
  void wait(ThrottleDirection direction, std::uint64_t length_bytes);
  /// The same without waiting, for those who bring their own clock: counts the request if it may be
  /// made at `now` and returns zero, else returns how long it has to wait.
  std::chrono::nanoseconds try_pass(ThrottleDirection direction, std::uint64_t length_bytes,
                                    Clock::time_point now);

 private:
  class State;
  std::unique_ptr<State> state_;
};

/// Groups by their names.
using ThrottleGroups = std::map<std::string, std::shared_ptr<ThrottleGroup>>;

}  // namespace qcowkit
