// The threads of a server.
#pragma once

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "base/buffer.h"
#include "base/mutex.h"

namespace qcowkit::nbd {

/// Work that threads are called to.
class Job {
 public:
  virtual ~Job() = default;
  /// `memory` is the thread's own: kept from job to job, so that it need not be had anew.
  virtual void work(Buffer& memory) noexcept = 0;
};

/// Threads that are started when they are called for, wait a while for more to do, and are fewer
/// when less is to be done. Thread-safe.
class Crew {
 public:
  /// `extra_max`: see `call_extra`; so many may also wait for work.
  explicit Crew(std::uint32_t extra_max) : extra_max_(extra_max) {}
  ~Crew();  ///< `dismiss`
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  /// Has a thread do the job; false if the system has no thread to give.
  bool call(std::shared_ptr<Job> job);
  /// The same, for one of at most `extra_max` threads at a time.
  bool call_extra(std::shared_ptr<Job> job);
  /// Returns when all jobs are done and all threads have ended. No calls afterwards.
  void dismiss();

 private:
  struct Member {
    std::thread thread;
    CondVar called;
    std::shared_ptr<Job> job;  // what it is called to
    bool is_extra = false;
  };

  bool call(std::shared_ptr<Job> job, bool is_extra);
  void run(Member& self);
  /// False: the thread is to end.
  bool wait_for_job(Member& self) REQUIRES(mutex_);
  void leave(Member& self);

  const std::uint32_t extra_max_;
  Mutex mutex_;
  bool is_dismissed_ GUARDED_BY(mutex_) = false;
  std::uint32_t extra_busy_ GUARDED_BY(mutex_) = 0;
  std::uint32_t alive_ GUARDED_BY(mutex_) = 0;
  std::vector<Member*> waiting_ GUARDED_BY(mutex_);  // the one whose caches are warmest last
  std::thread last_to_leave_ GUARDED_BY(mutex_);     // has ended, or is about to
  CondVar left_;
};

}  // namespace qcowkit::nbd
