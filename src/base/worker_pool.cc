// Ordered work on several threads: made in order, worked on in parallel, finished in order.
#include "base/worker_pool.h"

#include <algorithm>
#include <exception>
#include <system_error>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "qcowkit/error.h"

namespace qcowkit {

namespace {

constexpr std::size_t kSlotsPerWorker = 2;

[[noreturn]] void throw_cancelled() {
  throw Error(Errc::cancelled, make_error_code(Errc::cancelled).message());
}

/// Without threads one slot suffices, and each item goes through all steps at once.
void run_alone(const std::stop_token& stop, const SlotWork& work) {
  do {
    if (stop.stop_requested()) throw_cancelled();
    if (!work.produce(0)) return;
    work.process(0);
  } while (work.consume(0));
}

/// What the workers of one run share. Items are numbered from 0; those from `consumed_` up to
/// `produced_` lie in slots, each in slot number modulo slots.
class Run {
 public:
  Run(const SlotWork& work, std::stop_token stop, std::size_t slots)
      : work_(work), stop_(std::move(stop)), slots_(slots) {}

  /// What each worker does: takes the step that is most wanted until none is left. Never throws;
  /// what the steps throw is kept for `rethrow_failure`.
  void work_until_finished() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    for (;;) {
      if (stop_.stop_requested() && !is_finished()) {
        finish(nullptr);
        cancelled_ = true;
      }
      if (is_finished()) return;
      if (can_consume()) {
        consume_next();
      } else if (can_produce()) {
        produce_and_process_next();
      } else {
        changed_.wait(mutex_);
      }
    }
  }

  /// Called when all workers have returned.
  void rethrow_failure() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (failure_) std::rethrow_exception(failure_);
    if (cancelled_) throw_cancelled();
  }

 private:
  struct Slot {
    bool is_ready = false;       ///< may be consumed
    std::exception_ptr failure;  ///< what producing or processing it threw
  };

  bool is_finished() const REQUIRES(mutex_) {
    return finished_ || (exhausted_ && consumed_ == produced_);
  }
  bool can_consume() const REQUIRES(mutex_) {
    return !consuming_ && consumed_ < produced_ && slots_[index_of(consumed_)].is_ready;
  }
  bool can_produce() const REQUIRES(mutex_) {
    return !producing_ && !exhausted_ && produced_ - consumed_ < slots_.size();
  }
  std::size_t index_of(std::uint64_t number) const REQUIRES(mutex_) {
    return number % slots_.size();
  }

  void finish(std::exception_ptr failure) REQUIRES(mutex_) {
    finished_ = true;
    failure_ = std::move(failure);
    changed_.notify_all();
  }

  /// Runs `step` without the lock and returns what it threw.
  template <typename Step>
  std::exception_ptr run_unlocked(Step&& step) REQUIRES(mutex_) {
    mutex_.unlock();
    std::exception_ptr failure;
    try {
      step();
    } catch (...) {
      failure = std::current_exception();
    }
    mutex_.lock();
    return failure;
  }

  void produce_and_process_next() REQUIRES(mutex_) {
    const std::size_t slot = index_of(produced_);
    bool has_item = false;
    producing_ = true;
    std::exception_ptr failure = run_unlocked([&] { has_item = work_.produce(slot); });
    producing_ = false;
    // A failure is an item, too: it surfaces when its turn has come.
    if (has_item || failure) ++produced_;
    if (!has_item) exhausted_ = true;
    changed_.notify_all();

    if (has_item) failure = run_unlocked([&] { work_.process(slot); });
    if (failure) exhausted_ = true;
    slots_[slot] = {has_item || failure, std::move(failure)};
    changed_.notify_all();
  }

  void consume_next() REQUIRES(mutex_) {
    const std::size_t slot = index_of(consumed_);
    if (slots_[slot].failure) return finish(slots_[slot].failure);
    bool wants_more = true;
    consuming_ = true;
    std::exception_ptr failure = run_unlocked([&] { wants_more = work_.consume(slot); });
    consuming_ = false;
    slots_[slot] = {};
    ++consumed_;
    if (failure || !wants_more) return finish(std::move(failure));
    changed_.notify_all();
  }

  // Constant after construction.
  const SlotWork& work_;
  const std::stop_token stop_;

  Mutex mutex_;
  CondVar changed_;
  std::vector<Slot> slots_ GUARDED_BY(mutex_);
  std::uint64_t produced_ GUARDED_BY(mutex_) = 0;
  std::uint64_t consumed_ GUARDED_BY(mutex_) = 0;
  bool producing_ GUARDED_BY(mutex_) = false;
  bool consuming_ GUARDED_BY(mutex_) = false;
  bool exhausted_ GUARDED_BY(mutex_) = false;  ///< nothing more is produced
  bool finished_ GUARDED_BY(mutex_) = false;   ///< what lies in slots is not consumed any more
  bool cancelled_ GUARDED_BY(mutex_) = false;
  std::exception_ptr failure_ GUARDED_BY(mutex_);
};

}  // namespace

std::uint32_t worker_count(std::uint32_t requested) noexcept {
  return requested != 0 ? requested : std::max(1U, std::thread::hardware_concurrency());
}

std::size_t slot_count(const ParallelOptions& options) noexcept {
  const std::uint32_t workers = worker_count(options.workers);
  return workers == 1 ? 1 : kSlotsPerWorker * workers;
}

void run_slots(const ParallelOptions& options, const SlotWork& work) {
  const std::uint32_t workers = worker_count(options.workers);
  if (workers == 1) return run_alone(options.stop, work);

  Run run(work, options.stop, slot_count(options));
  {
    std::vector<std::jthread> threads;
    threads.reserve(workers - 1);
    try {
      while (threads.size() < workers - 1) {
        threads.emplace_back([&run] { run.work_until_finished(); });
      }
    } catch (const std::system_error&) {
      // No more threads to be had: the work is done by those that there are.
    }
    run.work_until_finished();
  }
  run.rethrow_failure();
}

}  // namespace qcowkit
