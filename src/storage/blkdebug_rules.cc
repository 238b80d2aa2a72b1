#include "storage/blkdebug_rules.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

#include "base/sector.h"

namespace qcowkit {

namespace {}  // namespace

BlkdebugRules::BlkdebugRules(const BlkdebugOptions& options)
    : say_(options.say), set_state_(options.set_state) {
  for (const BlkdebugInjectError& rule : options.inject_error) inject_error_.push_back({rule});
  come_to(std::nullopt);
}

void BlkdebugRules::on_event(Event event, std::uint64_t offset,
                             std::uint64_t length_bytes) noexcept {
  EventListener* const next = next_.load(std::memory_order_relaxed);
  if (next != nullptr) next->on_event(event, offset, length_bytes);
  come_to(event);
}

void BlkdebugRules::come_to(BlkdebugEvent event) noexcept {
  const MutexLock lock(mutex_);
  apply_rules(event);
  if (event) stop_at_breakpoints(*event);
}

/// All rules see the state that the event found. Of several that change it, the first in the file
/// has the last word. Errors that an event asks for replace those of the event before.
void BlkdebugRules::apply_rules(BlkdebugEvent event) {
  const auto matches = [event, state = state_](const auto& rule) {
    return rule.event == event && (rule.state == 0 || rule.state == state);
  };
  std::vector<std::size_t> active;
  for (std::size_t i = 0; i < inject_error_.size(); ++i) {
    if (!inject_error_[i].is_over && matches(inject_error_[i])) active.push_back(i);
  }
  if (!active.empty()) active_ = std::move(active);
  const auto next = std::find_if(set_state_.begin(), set_state_.end(), matches);
  if (next != set_state_.end()) state_ = next->new_state;
}

void BlkdebugRules::stop_at_breakpoints(Event event) {
  std::vector<std::list<Stop>::iterator> mine;
  for (std::size_t i = breakpoints_.size(); i > 0; --i) {
    Breakpoint& breakpoint = breakpoints_[i - 1];
    if (breakpoint.event != event) continue;
    mine.push_back(stops_.insert(stops_.begin(), Stop{std::move(breakpoint.tag)}));
    breakpoints_.erase(breakpoints_.begin() + static_cast<std::ptrdiff_t>(i - 1));
    say("Suspended", mine.back()->tag);
  }
  if (mine.empty()) return;
  changed_.notify_all();
  for (const auto& stop : mine) {
    while (!stop->is_over) changed_.wait(mutex_);
    stops_.erase(stop);
  }
}

int BlkdebugRules::judge(BlkdebugIoType type, std::uint64_t host_offset,
                         std::uint64_t length_bytes) {
  const MutexLock lock(mutex_);
  for (auto i = active_.begin(); i != active_.end(); ++i) {
    ErrorRule& rule = inject_error_[*i];
    if (rule.iotype ? rule.iotype != type : type == BlkdebugIoType::block_status) continue;
    if (rule.sector) {
      const std::uint64_t first = host_offset / kSectorBytes;
      const std::uint64_t end = (host_offset + length_bytes + kSectorBytes - 1) / kSectorBytes;
      if (length_bytes == 0 || *rule.sector < first || *rule.sector >= end) continue;
    }
    rule.is_over = rule.once;
    if (rule.once) active_.erase(i);
    return std::max(rule.errno_value, 0);
  }
  return 0;
}

// --- Breakpoints -------------------------------------------------------------------------------

void BlkdebugRules::set(Event event, std::string_view tag) {
  const MutexLock lock(mutex_);
  breakpoints_.push_back({event, std::string(tag)});
}

bool BlkdebugRules::remove(std::string_view tag) {
  const MutexLock lock(mutex_);
  const std::size_t removed = std::erase_if(
      breakpoints_, [&](const Breakpoint& breakpoint) { return breakpoint.tag == tag; });
  while (Stop* const stop = find_stop(tag)) let_go(*stop);
  return removed != 0;
}

bool BlkdebugRules::resume(std::string_view tag) {
  const MutexLock lock(mutex_);
  Stop* const stop = find_stop(tag);
  if (stop == nullptr) return false;
  let_go(*stop);
  return true;
}

bool BlkdebugRules::is_stopped(std::string_view tag) const {
  const MutexLock lock(mutex_);
  return std::any_of(stops_.begin(), stops_.end(),
                     [&](const Stop& stop) { return !stop.is_over && stop.tag == tag; });
}

void BlkdebugRules::wait_until_stopped(std::string_view tag) {
  const MutexLock lock(mutex_);
  while (find_stop(tag) == nullptr) changed_.wait(mutex_);
}

BlkdebugRules::Stop* BlkdebugRules::find_stop(std::string_view tag) {
  const auto found = std::find_if(stops_.begin(), stops_.end(), [&](const Stop& stop) {
    return !stop.is_over && stop.tag == tag;
  });
  return found == stops_.end() ? nullptr : &*found;
}

void BlkdebugRules::let_go(Stop& stop) {
  say("Resuming", stop.tag);
  stop.is_over = true;
  changed_.notify_all();
}

void BlkdebugRules::say(std::string_view what, std::string_view tag) const {
  const std::string line = fmt::format("blkdebug: {} request '{}'", what, tag);
  if (say_) {
    say_(line);
    return;
  }
  const std::string whole = line + '\n';
  [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, whole.data(), whole.size());
}

}  // namespace qcowkit
