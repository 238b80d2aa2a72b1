// sleep, sigraise, abort, quit: the program itself.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "cli/io/command.h"
#include "cli/io/complaint.h"
#include "cli/io/numbers.h"

namespace qcowkit::cli::io {

namespace {

bool run_sleep(const Words& words, Session& session) {
  errno = 0;
  char* end = nullptr;
  const long milliseconds = std::strtol(words[1].c_str(), &end, 0);
  if (*end != '\0' || errno != 0 || milliseconds < 0) {
    throw Complaint(fmt::format("{} is not a valid number", words[1]));
  }
  session.console().flush();
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  session.print_finished();
  return true;
}

/// The signals that the reference keeps for itself, or ignores.
bool is_deaf_to(int signal) {
  constexpr std::array kSignals = {SIGBUS, SIGUSR1, SIGPIPE, SIGALRM, SIGIO};
  return std::ranges::find(kSignals, signal) != kSignals.end();
}

bool run_sigraise(const Words& words, Session& session) {
  const std::uint64_t signal = parse_number(words[1], session.console());
  if (signal > NSIG) {
    throw Complaint(
        fmt::format("signal argument '{}' is too large to be a valid signal", words[1]));
  }
  session.console().flush();  // it may be the last thing that the program does
  if (is_deaf_to(static_cast<int>(signal))) return true;
  std::raise(static_cast<int>(signal));
  return true;
}

/// Ends like a crash: what has not been written yet, the program's own output too, is lost.
bool run_abort(const Words& /*words*/, Session& session) {
  if (::isatty(STDOUT_FILENO) != 0) session.console().flush();
  std::abort();
}

bool run_quit(const Words& /*words*/, Session& session) {
  session.quit();
  return true;
}

}  // namespace

constexpr Command kSleepCommand{
    .name = "sleep",
    .summary = "waits for the given value in milliseconds",
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_sleep,
};

constexpr Command kSigraiseCommand{
    .name = "sigraise",
    .arguments = "signal",
    .summary = "raises a signal",
    .help = R"(
 Sends the program the signal of this number.

 Example:
 'sigraise 15' ends it as SIGTERM does.

)",
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_sigraise,
};

constexpr Command kAbortCommand{
    .name = "abort",
    .summary = "simulate a program crash using abort(3)",
    .arguments_max = 0,
    .run = run_abort,
};

constexpr Command kQuitCommand{
    .name = "quit",
    .alias = "q",
    .summary = "exit the program",
    .run = run_quit,
};

}  // namespace qcowkit::cli::io
