// The rules and breakpoints of a blkdebug storage.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "qcowkit/events.h"
#include "storage/blkdebug.h"

namespace qcowkit {

/// Thread-safe. Events come in; `judge` says which requests fail because of them.
class BlkdebugRules final : public EventListener, public Breakpoints {
 public:
  explicit BlkdebugRules(const BlkdebugOptions& options);

  /// Who hears each event before the rules do; null: nobody.
  void set_next(EventListener* next) noexcept { next_.store(next, std::memory_order_relaxed); }

  void on_event(Event event, std::uint64_t offset, std::uint64_t length_bytes) noexcept override;
  /// The same for these rules alone.
  void come_to(BlkdebugEvent event) noexcept EXCLUDES(mutex_);

  /// The errno that a request fails with; 0: none.
  int judge(BlkdebugIoType type, std::uint64_t host_offset, std::uint64_t length_bytes)
      EXCLUDES(mutex_);

  void set(Event event, std::string_view tag) override EXCLUDES(mutex_);
  bool remove(std::string_view tag) override EXCLUDES(mutex_);
  bool resume(std::string_view tag) override EXCLUDES(mutex_);
  bool is_stopped(std::string_view tag) const override EXCLUDES(mutex_);
  void wait_until_stopped(std::string_view tag) override EXCLUDES(mutex_);

 private:
  struct ErrorRule : BlkdebugInjectError {
    bool is_over = false;
  };
  struct Breakpoint {
    Event event;
    std::string tag;
  };
  /// A request that stopped at two breakpoints at once is in the list twice.
  struct Stop {
    std::string tag;
    bool is_over = false;
  };

  void apply_rules(BlkdebugEvent event) REQUIRES(mutex_);
  void stop_at_breakpoints(Event event) REQUIRES(mutex_);
  void let_go(Stop& stop) REQUIRES(mutex_);
  Stop* find_stop(std::string_view tag) REQUIRES(mutex_);
  void say(std::string_view what, std::string_view tag) const;

  // Constant after construction.
  const std::function<void(std::string_view)> say_;

  std::atomic<EventListener*> next_{nullptr};

  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<ErrorRule> inject_error_ GUARDED_BY(mutex_);
  std::vector<BlkdebugSetState> set_state_ GUARDED_BY(mutex_);
  std::vector<Breakpoint> breakpoints_ GUARDED_BY(mutex_);
  std::uint32_t state_ GUARDED_BY(mutex_) = 1;
  std::vector<std::size_t> active_ GUARDED_BY(mutex_);  // of inject_error_, in their order
  std::list<Stop> stops_ GUARDED_BY(mutex_);            // those of now, each with its own thread
};

}  // namespace qcowkit
