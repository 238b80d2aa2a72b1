// -T, --trace: the engine's events, printed as they happen.
#include "cli/trace.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <bitset>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>

#include "base/option_list.h"
#include "cli/failure.h"

namespace qcowkit::cli {

namespace {

/// Writes a line for each event that is switched on, each with one system call: lines of several
/// threads, or of several processes that share the file, do not mix.
class Trace final : public EventListener {
 public:
  void on_event(Event event, std::uint64_t offset, std::uint64_t length_bytes) noexcept override {
    if (!enabled_[static_cast<std::size_t>(event)]) return;
    const std::chrono::duration<double> since_start = std::chrono::steady_clock::now() - start_;
    std::array<char, 128> line;
    const auto end = fmt::format_to_n(line.data(), line.size(), "{:.6f} {} offset {} bytes {}\n",
                                      since_start.count(), event_name(event), offset, length_bytes);
    // Nobody is there to hear that a trace is lost.
    [[maybe_unused]] const ssize_t written = ::write(fd_, line.data(), end.size);
  }

  void enable(Event event, bool on) { enabled_[static_cast<std::size_t>(event)] = on; }
  bool traces_something() const { return enabled_.any(); }

  void write_to(const std::string& path) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) {
      throw Failure(fmt::format("Error opening logfile {}: {}", path,
                                std::generic_category().message(errno)));
    }
    if (fd_ != STDERR_FILENO) ::close(fd_);
    fd_ = fd;
  }

 private:
  // Constant once tracing has begun.
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::bitset<kEventCount> enabled_;
  int fd_ = STDERR_FILENO;
};

/// One for the whole program, as standard error is.
std::shared_ptr<Trace>& the_trace() {
  static std::shared_ptr<Trace> trace = std::make_shared<Trace>();
  return trace;
}

/// '*' stands for any characters, '?' for one.
bool matches(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  if (pattern.front() == '*') {
    return matches(pattern.substr(1), name) || (!name.empty() && matches(pattern, name.substr(1)));
  }
  if (name.empty() || (pattern.front() != '?' && pattern.front() != name.front())) return false;
  return matches(pattern.substr(1), name.substr(1));
}

/// Switches on what the pattern matches; off, if a dash is before it. `where` is what warnings
/// start with.
void enable_pattern(std::string_view where, std::string_view pattern) {
  const bool on = !pattern.starts_with('-');
  if (!on) pattern.remove_prefix(1);
  bool found = pattern.find('*') != pattern.npos;
  for (std::size_t i = 0; i < kEventCount; ++i) {
    const auto event = static_cast<Event>(i);
    if (!matches(pattern, event_name(event))) continue;
    the_trace()->enable(event, on);
    found = true;
  }
  if (!found) {
    fmt::print(stderr, "{} warning: trace event '{}' does not exist\n", where, pattern);
  }
}

void enable_file(std::string_view program, const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Failure(fmt::format("{}: {}", path, std::generic_category().message(errno)));
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line.starts_with('#')) continue;
    enable_pattern(fmt::format("{}:{}:{}:", program, path, number), line);
  }
}

std::string all_names() {
  std::string names;
  for (std::size_t i = 0; i < kEventCount; ++i) {
    names.append(event_name(static_cast<Event>(i))).push_back('\n');
  }
  return names;
}

}  // namespace

void enable_trace(std::string_view program, std::string_view text) {
  std::optional<std::string> pattern;
  std::optional<std::string> events;
  std::optional<std::string> output;
  if (!text.empty()) {
    for (const KeyValue& option : parse_key_values(text, "enable")) {
      std::optional<std::string>* const known = option.key == "enable"   ? &pattern
                                                : option.key == "events" ? &events
                                                : option.key == "file"   ? &output
                                                                         : nullptr;
      if (known == nullptr) throw Failure(fmt::format("Invalid parameter '{}'", option.key));
      *known = option.value;
    }
  }
  if (pattern == "help" || pattern == "?") throw HelpText(all_names());
  if (pattern && !pattern->empty()) enable_pattern(fmt::format("{}:", program), *pattern);
  if (events) enable_file(program, *events);
  if (output) the_trace()->write_to(*output);
}

std::shared_ptr<EventListener> trace_listener() {
  return the_trace()->traces_something() ? the_trace() : nullptr;
}

}  // namespace qcowkit::cli
