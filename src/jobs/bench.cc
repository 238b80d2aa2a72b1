// Measures how fast an image serves requests.
#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <thread>

#include "base/buffer.h"
#include "base/mutex.h"
#include "base/worker_pool.h"
#include "qcowkit/jobs.h"

namespace qcowkit {

namespace {

using Clock = std::chrono::steady_clock;

/// Requests that need no more than memory are taken many at a time: handing them out one by one
/// would cost as much as making them.
constexpr std::uint64_t kBatchRequests = 32;
/// Who waits for longer than this waits for a device: then another request can be under way.
constexpr std::chrono::microseconds kSlowRequest{50};
constexpr std::size_t kThreadsMax = 256;

/// Requests [begin, end), or a flush.
struct Batch {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  bool is_flush = false;
};

/// Thread-safe. The lock is held while requests are handed out, not while they are made.
class BenchJob {
 public:
  BenchJob(Image& image, const BenchOptions& options)
      : image_(image), options_(options), size_(image.virtual_size()) {}

  std::chrono::nanoseconds run() EXCLUDES(mutex_);

 private:
  void work() noexcept EXCLUDES(mutex_);
  bool take(Batch& batch, std::uint64_t requests_max) EXCLUDES(mutex_);
  bool is_flush_due() const REQUIRES(mutex_);
  void finish() EXCLUDES(mutex_);
  void make(std::uint64_t index, std::span<std::byte> bytes);
  void start_worker() EXCLUDES(mutex_);
  void join_workers() EXCLUDES(mutex_);

  Image& image_;
  const BenchOptions& options_;
  const std::uint64_t size_;

  Mutex mutex_;
  CondVar drained_;
  std::uint64_t next_ GUARDED_BY(mutex_) = 0;
  std::uint64_t flushed_at_ GUARDED_BY(mutex_) = 0;  ///< the flush before this request is made
  std::size_t batches_under_way_ GUARDED_BY(mutex_) = 0;
  std::size_t workers_ GUARDED_BY(mutex_) = 1;  ///< with the caller
  std::vector<std::thread> threads_ GUARDED_BY(mutex_);
  std::exception_ptr error_ GUARDED_BY(mutex_);
};

std::chrono::nanoseconds BenchJob::run() {
  const auto begin = Clock::now();
  // More than there are cores are of use only once requests wait for a device.
  for (std::uint32_t i = 1; i < std::min(worker_count(0), options_.depth); ++i) start_worker();
  work();
  join_workers();
  const auto end = Clock::now();
  MutexLock lock(mutex_);
  if (error_) std::rethrow_exception(error_);
  return end - begin;
}

void BenchJob::work() noexcept {
  bool is_under_way = false;
  try {
    Buffer buffer(options_.request_bytes);
    std::memset(buffer.data(), std::to_integer<int>(options_.pattern), buffer.size());
    std::uint64_t requests_max = kBatchRequests;
    for (Batch batch; (is_under_way = take(batch, requests_max)); finish()) {
      if (batch.is_flush) {
        image_.flush();
        continue;
      }
      const auto begin = Clock::now();
      for (std::uint64_t i = batch.begin; i < batch.end; ++i) make(i, buffer.span());
      const bool is_slow = Clock::now() - begin > kSlowRequest * (batch.end - batch.begin);
      requests_max = is_slow ? 1 : kBatchRequests;
      if (is_slow) start_worker();
    }
  } catch (...) {
    MutexLock lock(mutex_);
    if (!error_) error_ = std::current_exception();
    if (is_under_way) --batches_under_way_;
    drained_.notify_all();
  }
}

bool BenchJob::is_flush_due() const {
  return options_.flush_interval != 0 && next_ != flushed_at_ &&
         (options_.count - next_) % options_.flush_interval == 0;
}

bool BenchJob::take(Batch& batch, std::uint64_t requests_max) {
  MutexLock lock(mutex_);
  for (;;) {
    if (options_.stop.stop_requested() && !error_) {
      error_ = std::make_exception_ptr(Error(Errc::cancelled, "the benchmark was stopped"));
    }
    if (error_) return false;
    if (is_flush_due()) {
      if (options_.flushes_among_writes || batches_under_way_ == 0) {
        batch = {next_, next_, true};
        flushed_at_ = next_;
        ++batches_under_way_;
        return true;
      }
    } else {
      // A flush that all wait for may still be under way.
      const bool must_wait = !options_.flushes_among_writes && flushed_at_ == next_ && next_ != 0 &&
                             batches_under_way_ != 0;
      if (!must_wait) break;
    }
    drained_.wait(mutex_);  // and look again: others go on meanwhile
  }
  if (next_ == options_.count) return false;
  batch.begin = next_;
  batch.end = std::min(options_.count, next_ + requests_max);
  if (options_.flush_interval != 0) {
    const std::uint64_t left = options_.count - next_;
    const std::uint64_t to_flush = left % options_.flush_interval;
    batch.end = std::min(batch.end, next_ + (to_flush == 0 ? options_.flush_interval : to_flush));
  }
  batch.is_flush = false;
  next_ = batch.end;
  ++batches_under_way_;
  return true;
}

void BenchJob::finish() {
  MutexLock lock(mutex_);
  --batches_under_way_;
  if (options_.flush_interval != 0) drained_.notify_all();
}

void BenchJob::make(std::uint64_t index, std::span<std::byte> bytes) {
  std::uint64_t offset = options_.offset;
  // Neither factor has more than 32 bits.
  if (index > 0 && size_ > 0) offset = (offset + index * options_.step_bytes) % size_;
  if (offset > size_ || bytes.size() > size_ - offset) {
    throw os_error(EIO, fmt::format("{}: {} bytes at guest offset {}", image_.filename(),
                                    bytes.size(), offset));
  }
  if (options_.write) {
    image_.write(offset, bytes);
  } else {
    image_.read(offset, bytes);
  }
}

void BenchJob::start_worker() {
  MutexLock lock(mutex_);
  if (workers_ >= std::min<std::size_t>(options_.depth, kThreadsMax) || error_) return;
  try {
    threads_.emplace_back([this] { work(); });
    ++workers_;
  } catch (const std::system_error&) {
    // The system gives no more threads; those that there are do the work.
  }
}

/// Threads may be started as long as one is at work.
void BenchJob::join_workers() {
  for (;;) {
    std::vector<std::thread> threads;
    {
      MutexLock lock(mutex_);
      threads.swap(threads_);
    }
    if (threads.empty()) return;
    for (std::thread& thread : threads) thread.join();
  }
}

void check_options(const BenchOptions& options) {
  constexpr std::uint64_t kMax = 0x7fffffff;
  if (options.depth == 0) throw Error(Errc::invalid_argument, "the queue's depth is zero");
  if (options.count > kMax || options.request_bytes > kMax || options.step_bytes > kMax) {
    throw Error(Errc::limit_exceeded, "a benchmark's numbers have at most 31 bits");
  }
}

}  // namespace

std::chrono::nanoseconds time_requests(Image& image, const BenchOptions& options) {
  check_options(options);
  return BenchJob(image, options).run();
}

}  // namespace qcowkit
