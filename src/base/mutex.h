// std::mutex and std::shared_mutex with the annotations that clang's -Wthread-safety checks.
#pragma once

#include <condition_variable>
#include <mutex>
#include <shared_mutex>

#if defined(__clang__)
#define QCOWKIT_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define QCOWKIT_THREAD_ANNOTATION(x)
#endif

#define CAPABILITY(x) QCOWKIT_THREAD_ANNOTATION(capability(x))
#define SCOPED_CAPABILITY QCOWKIT_THREAD_ANNOTATION(scoped_lockable)
#define GUARDED_BY(x) QCOWKIT_THREAD_ANNOTATION(guarded_by(x))
#define REQUIRES(...) QCOWKIT_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) QCOWKIT_THREAD_ANNOTATION(requires_shared_capability(__VA_ARGS__))
#define ACQUIRE(...) QCOWKIT_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) QCOWKIT_THREAD_ANNOTATION(acquire_shared_capability(__VA_ARGS__))
#define RELEASE(...) QCOWKIT_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) QCOWKIT_THREAD_ANNOTATION(release_shared_capability(__VA_ARGS__))
#define RELEASE_GENERIC(...) QCOWKIT_THREAD_ANNOTATION(release_generic_capability(__VA_ARGS__))
#define EXCLUDES(...) QCOWKIT_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS QCOWKIT_THREAD_ANNOTATION(no_thread_safety_analysis)

namespace qcowkit {

class CAPABILITY("mutex") Mutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class CAPABILITY("shared mutex") SharedMutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }
  void lock_shared() ACQUIRE_SHARED() { mutex_.lock_shared(); }
  void unlock_shared() RELEASE_SHARED() { mutex_.unlock_shared(); }

 private:
  std::shared_mutex mutex_;
};

template <typename M>
class SCOPED_CAPABILITY Locked {
 public:
  explicit Locked(M& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~Locked() RELEASE() { mutex_.unlock(); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  M& mutex_;
};

using MutexLock = Locked<Mutex>;
using ExclusiveLock = Locked<SharedMutex>;

class SCOPED_CAPABILITY SharedLock {
 public:
  explicit SharedLock(SharedMutex& mutex) ACQUIRE_SHARED(mutex) : mutex_(mutex) {
    mutex_.lock_shared();
  }
  ~SharedLock() RELEASE_GENERIC() { mutex_.unlock_shared(); }
  SharedLock(const SharedLock&) = delete;
  SharedLock& operator=(const SharedLock&) = delete;

 private:
  SharedMutex& mutex_;
};

/// A condition that a holder of `Mutex` or `SharedMutex` (exclusively) waits for.
class CondVar {
 public:
  void wait(Mutex& mutex) REQUIRES(mutex) {
    std::unique_lock<std::mutex> held(mutex.mutex_, std::adopt_lock);
    condition_.wait(held);
    held.release();
  }
  void notify_one() noexcept { condition_.notify_one(); }
  void notify_all() noexcept { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace qcowkit
