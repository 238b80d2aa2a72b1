// What a command of the I/O program is. Each family of them lives in a file of its own;
// command_table.cc lists them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/io/session.h"

namespace qcowkit::cli::io {

/// `words` starts with the command's name as it was written.
using Words = std::vector<std::string>;

struct Command {
  static constexpr int kAnyNumber = -1;

  std::string_view name;
  std::string_view alias = {};  ///< a shorter name; empty: none
  /// What follows the name in the list of commands.
  std::optional<std::string_view> arguments = {};
  std::string_view summary;    ///< one line for that list
  std::string_view help = {};  ///< what `help NAME` adds, printed as it is
  int arguments_min = 0;       ///< of words, options among them
  int arguments_max = kAnyNumber;
  bool needs_image = false;
  bool changes_image = false;  ///< refused where the image is read-only
  /// False: it has failed and said why. Throws `Complaint`, `BareError`, `WrongUsage`,
  /// `BadOption`, `Failure` or `qcowkit::Error`.
  bool (*run)(const Words& words, Session& session);
};

extern const Command kAbortCommand;
extern const Command kAioFlushCommand;
extern const Command kAioReadCommand;
extern const Command kAioWriteCommand;
extern const Command kAllocCommand;
extern const Command kBreakCommand;
extern const Command kCloseCommand;
extern const Command kDiscardCommand;
extern const Command kFlushCommand;
extern const Command kHelpCommand;
extern const Command kInfoCommand;
extern const Command kLengthCommand;
extern const Command kMapCommand;
extern const Command kOpenCommand;
extern const Command kQuitCommand;
extern const Command kReadCommand;
extern const Command kReadvCommand;
extern const Command kRemoveBreakCommand;
extern const Command kReopenCommand;
extern const Command kResumeCommand;
extern const Command kSigraiseCommand;
extern const Command kSleepCommand;
extern const Command kTruncateCommand;
extern const Command kWaitBreakCommand;
extern const Command kWriteCommand;
extern const Command kWritevCommand;

/// Runs what one line says; false: it has failed, and that was said. An empty line is no command.
bool run_line(std::string_view line, Session& session);

}  // namespace qcowkit::cli::io
