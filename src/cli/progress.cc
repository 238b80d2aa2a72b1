// The progress line of long commands.
#include "cli/progress.h"

#include <csignal>

namespace qcowkit::cli {

namespace {

constexpr double kStepPercent = 1;  // smaller steps are not worth a line

volatile std::sig_atomic_t progress_wanted = 0;

void want_progress(int) { progress_wanted = 1; }

void set_handler(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
}

}  // namespace

Progress::Progress(Console& console, Mode mode, Begin begin)
    : console_(console), mode_(mode), line_is_open_(mode == Mode::line) {
  progress_wanted = 0;
  // Also where nothing is said: the signal must not end the command.
  set_handler(want_progress);
  if (begin == Begin::at_once) report(0);
}

Progress::~Progress() {
  end();
  set_handler(SIG_IGN);
}

void Progress::report(double fraction) {
  const double percent = fraction * 100;
  if (mode_ == Mode::line) {
    const bool is_last = percent >= 100 && shown_percent_ < 100;
    if (shown_percent_ >= 0 && percent - shown_percent_ < kStepPercent && !is_last) return;
    shown_percent_ = percent;
    console_.print("    ({:.2f}/100%)\r", percent);
    console_.flush();
  } else if (mode_ == Mode::on_signal && progress_wanted != 0) {
    progress_wanted = 0;
    console_.write_error(fmt::format("    ({:.2f}/100%)\n", percent));
  }
}

void Progress::end() {
  if (line_is_open_) console_.write("\n");
  line_is_open_ = false;
}

}  // namespace qcowkit::cli
