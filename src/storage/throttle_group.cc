// Leaky buckets that requests of several storages share.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "qcowkit/error.h"
#include "qcowkit/throttle.h"

namespace qcowkit {

namespace {

constexpr std::uint64_t kValueMax = 1'000'000'000'000'000;
constexpr double kNanosecondsPerSecond = 1e9;

void require(bool holds, const std::string& message) {
  if (!holds) throw Error(Errc::invalid_argument, message);
}

void validate(const ThrottleLimit& limit) {
  require(limit.average <= kValueMax && limit.maximum <= kValueMax,
          fmt::format("bps/iops/max values must be within [0, {}]", kValueMax));
  require(limit.burst_seconds != 0, "the burst length cannot be 0");
  require(limit.burst_seconds == 1 || limit.maximum != 0, "burst length set without burst rate");
  require(limit.maximum == 0 || limit.burst_seconds <= kValueMax / limit.maximum,
          "burst length too high for this burst rate");
  require(limit.maximum == 0 || limit.average != 0,
          "bps_max/iops_max require corresponding bps/iops values");
  require(limit.maximum == 0 || limit.maximum >= limit.average,
          "bps_max/iops_max cannot be lower than bps/iops");
}

bool are_mixed(const ThrottleLimit& total, const ThrottleLimit& read, const ThrottleLimit& write) {
  return (total.average != 0 && (read.average != 0 || write.average != 0)) ||
         (total.maximum != 0 && (read.maximum != 0 || write.maximum != 0));
}

/// What has run into one limit and not leaked out yet. Amounts are real numbers, for a request may
/// count as one and a half.
class Bucket {
 public:
  explicit Bucket(const ThrottleLimit& limit) : limit_(limit) {}

  bool is_limited() const noexcept { return limit_.average != 0; }

  void leak(double seconds) noexcept {
    level_ = std::max(0.0, level_ - seconds * average());
    burst_level_ = std::max(0.0, burst_level_ - seconds * maximum());
  }
  void add(double amount) noexcept {
    level_ += amount;
    burst_level_ += amount;
  }
  /// How long until the next request may be made.
  double wait_seconds() const noexcept {
    const double too_much = level_ - capacity();
    if (too_much > 0) return too_much / average();
    if (limit_.burst_seconds <= 1) return 0;
    // Long bursts keep to their own rate, judged over a tenth of a second.
    const double too_fast = burst_level_ - maximum() / 10;
    return too_fast > 0 ? too_fast / maximum() : 0;
  }

 private:
  double average() const noexcept { return static_cast<double>(limit_.average); }
  double maximum() const noexcept { return static_cast<double>(limit_.maximum); }
  double capacity() const noexcept {
    if (limit_.maximum == 0) return average() / 10;
    return maximum() * static_cast<double>(limit_.burst_seconds);
  }

  const ThrottleLimit limit_;
  double level_ = 0;
  double burst_level_ = 0;  // of a second bucket, which leaks at the burst's rate
};

}  // namespace

void validate(const ThrottleLimits& limits) {
  require(!are_mixed(limits.bps_total, limits.bps_read, limits.bps_write) &&
              !are_mixed(limits.iops_total, limits.iops_read, limits.iops_write),
          "bps/iops/max total values and read/write values cannot be used at the same time");
  const bool limits_iops = limits.iops_total.average != 0 || limits.iops_read.average != 0 ||
                           limits.iops_write.average != 0;
  require(limits.iops_size_bytes == 0 || limits_iops, "iops size requires an iops value to be set");
  for (const ThrottleLimit* limit : {&limits.bps_total, &limits.bps_read, &limits.bps_write,
                                     &limits.iops_total, &limits.iops_read, &limits.iops_write}) {
    validate(*limit);
  }
}

class ThrottleGroup::State {
 public:
  State(std::string name, const ThrottleLimits& limits)
      : name_(std::move(name)),
        limits_(limits),
        bytes_{Bucket(limits.bps_total), Bucket(limits.bps_read), Bucket(limits.bps_write)},
        requests_{Bucket(limits.iops_total), Bucket(limits.iops_read), Bucket(limits.iops_write)} {
    for (const auto* buckets : {&bytes_, &requests_}) {
      for (const Bucket& bucket : *buckets) is_limited_ = is_limited_ || bucket.is_limited();
    }
  }

  const std::string& name() const noexcept { return name_; }
  const ThrottleLimits& limits() const noexcept { return limits_; }
  bool is_limited() const noexcept { return is_limited_; }

  void wait(ThrottleDirection direction, std::uint64_t length_bytes) {
    const std::uint64_t turn = take_turn(direction);
    for (;;) {
      const auto wait = try_pass(direction, length_bytes, Clock::now());
      if (wait.count() == 0) break;
      std::this_thread::sleep_for(wait);
    }
    end_turn(direction, turn);
  }

  std::chrono::nanoseconds try_pass(ThrottleDirection direction, std::uint64_t length_bytes,
                                    Clock::time_point now) {
    const std::size_t own = direction == ThrottleDirection::read ? kRead : kWrite;
    const MutexLock held(mutex_);
    leak_until(now);
    double wait_seconds = 0;
    for (const auto* buckets : {&bytes_, &requests_}) {
      for (const std::size_t index : {kTotal, own}) {
        const Bucket& bucket = (*buckets)[index];
        if (bucket.is_limited()) wait_seconds = std::max(wait_seconds, bucket.wait_seconds());
      }
    }
    if (wait_seconds > 0) {
      const double wait = wait_seconds * kNanosecondsPerSecond;
      return std::chrono::nanoseconds(1 + static_cast<std::int64_t>(std::min(wait, 1e18)));
    }
    for (const std::size_t index : {kTotal, own}) {
      bytes_[index].add(static_cast<double>(length_bytes));
      requests_[index].add(request_count(length_bytes));
    }
    return std::chrono::nanoseconds(0);
  }

 private:
  static constexpr std::size_t kTotal = 0;
  static constexpr std::size_t kRead = 1;
  static constexpr std::size_t kWrite = 2;
  using Buckets = std::array<Bucket, 3>;

  /// Requests of one direction that wait, by the order of their arrival.
  struct Queue {
    std::uint64_t next_turn = 0;
    std::uint64_t present_turn = 0;
    CondVar turned;
  };

  double request_count(std::uint64_t length_bytes) const noexcept {
    const std::uint64_t unit = limits_.iops_size_bytes;
    if (unit == 0 || length_bytes <= unit) return 1;
    return static_cast<double>(length_bytes) / static_cast<double>(unit);
  }

  void leak_until(Clock::time_point now) REQUIRES(mutex_) {
    if (now <= leaked_until_) return;
    const double seconds = std::chrono::duration<double>(now - leaked_until_).count();
    leaked_until_ = now;
    for (Buckets* buckets : {&bytes_, &requests_}) {
      for (Bucket& bucket : *buckets) bucket.leak(seconds);
    }
  }

  std::uint64_t take_turn(ThrottleDirection direction) {
    const MutexLock held(queue_mutex_);
    Queue& queue = queues_[static_cast<std::size_t>(direction)];
    const std::uint64_t turn = queue.next_turn++;
    while (queue.present_turn != turn) queue.turned.wait(queue_mutex_);
    return turn;
  }

  void end_turn(ThrottleDirection direction, std::uint64_t turn) {
    const MutexLock held(queue_mutex_);
    Queue& queue = queues_[static_cast<std::size_t>(direction)];
    queue.present_turn = turn + 1;
    queue.turned.notify_all();
  }

  // Constant after construction.
  const std::string name_;
  const ThrottleLimits limits_;
  bool is_limited_ = false;

  Mutex queue_mutex_;  // never held together with mutex_
  std::array<Queue, 2> queues_ GUARDED_BY(queue_mutex_);

  Mutex mutex_;
  Buckets bytes_ GUARDED_BY(mutex_);
  Buckets requests_ GUARDED_BY(mutex_);
  Clock::time_point leaked_until_ GUARDED_BY(mutex_) = {};
};

ThrottleGroup::ThrottleGroup(std::string name, const ThrottleLimits& limits) {
  validate(limits);
  state_ = std::make_unique<State>(std::move(name), limits);
}

ThrottleGroup::~ThrottleGroup() = default;

const std::string& ThrottleGroup::name() const noexcept { return state_->name(); }
const ThrottleLimits& ThrottleGroup::limits() const noexcept { return state_->limits(); }

void ThrottleGroup::wait(ThrottleDirection direction, std::uint64_t length_bytes) {
  if (state_->is_limited()) state_->wait(direction, length_bytes);
}

std::chrono::nanoseconds ThrottleGroup::try_pass(ThrottleDirection direction,
                                                 std::uint64_t length_bytes,
                                                 Clock::time_point now) {
  return state_->try_pass(direction, length_bytes, now);
}

}  // namespace qcowkit
