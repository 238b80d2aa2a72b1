#include "export/nbd/crew.h"

#include <algorithm>
#include <csignal>
#include <system_error>
#include <utility>

namespace qcowkit::nbd {

Crew::~Crew() { dismiss(); }

bool Crew::call(std::shared_ptr<Job> job) { return call(std::move(job), false); }
bool Crew::call_extra(std::shared_ptr<Job> job) { return call(std::move(job), true); }

bool Crew::call(std::shared_ptr<Job> job, bool is_extra) {
  const MutexLock lock(mutex_);
  if (is_extra && extra_busy_ >= extra_max_) return false;
  if (!waiting_.empty()) {
    Member& member = *waiting_.back();
    waiting_.pop_back();
    member.job = std::move(job);
    member.is_extra = is_extra;
    member.called.notify_one();
  } else {
    auto member = std::make_unique<Member>();
    member->job = std::move(job);
    member->is_extra = is_extra;
    try {
      // It gets no further than the lock before its own handle is in its place.
      member->thread = std::thread([this, self = member.get()] { run(*self); });
    } catch (const std::system_error&) {
      return false;
    }
    static_cast<void>(member.release());  // `leave` takes it over
    ++alive_;
  }
  extra_busy_ += is_extra;
  return true;
}

namespace {

/// A client that has gone is an error of the call that sends (EPIPE), not the program's end:
/// sendfile(2) cannot be told so by a flag.
void block_sigpipe() noexcept {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

}  // namespace

void Crew::run(Member& self) {
  block_sigpipe();
  Buffer memory;
  mutex_.lock();
  while (wait_for_job(self)) {
    mutex_.unlock();
    self.job->work(memory);
    self.job.reset();
    mutex_.lock();
    extra_busy_ -= self.is_extra;
  }
  mutex_.unlock();
  leave(self);
}

bool Crew::wait_for_job(Member& self) {
  if (self.job) return true;
  if (is_dismissed_ || waiting_.size() >= extra_max_) return false;
  waiting_.push_back(&self);
  while (!self.job && !is_dismissed_) self.called.wait(mutex_);
  if (self.job) return true;
  waiting_.erase(std::find(waiting_.begin(), waiting_.end(), &self));
  return false;
}

/// Each that leaves waits for the end of the one before, so that none is left over.
void Crew::leave(Member& self) {
  const std::unique_ptr<Member> own(&self);
  std::thread before;
  {
    const MutexLock lock(mutex_);
    before = std::exchange(last_to_leave_, std::move(own->thread));
    if (--alive_ == 0) left_.notify_all();
  }
  if (before.joinable()) before.join();
}

void Crew::dismiss() {
  std::thread last;
  {
    const MutexLock lock(mutex_);
    is_dismissed_ = true;
    for (Member* const member : waiting_) member->called.notify_one();
    while (alive_ > 0) left_.wait(mutex_);
    last = std::move(last_to_leave_);
  }
  if (last.joinable()) last.join();
}

}  // namespace qcowkit::nbd
