// The progress line of long commands.
#pragma once

#include "cli/console.h"
#include "qcowkit/image.h"

namespace qcowkit::cli {

/// Shows how far a job is: with -p on standard output, over and over on the same line; without it
/// once on standard error for each SIGUSR1. One object at a time.
class Progress {
 public:
  enum class Mode {
    quiet,      ///< say nothing
    on_signal,  ///< answer SIGUSR1
    line,       ///< keep a line up to date
  };

  /// When the line begins: at once, or with the first report. It ends in either case.
  enum class Begin { at_once, with_report };

  Progress(Console& console, Mode mode, Begin begin = Begin::at_once);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  static Mode mode(bool quiet, bool progress) {
    return quiet ? Mode::quiet : progress ? Mode::line : Mode::on_signal;
  }

  /// What the job is given. It refers to this object.
  ProgressSink sink() {
    return [this](double fraction) { report(fraction); };
  }
  void report(double fraction);
  /// Ends the line: the job is done or has failed.
  void end();

 private:
  Console& console_;
  Mode mode_;
  double shown_percent_ = -1;
  bool line_is_open_ = false;
};

}  // namespace qcowkit::cli
