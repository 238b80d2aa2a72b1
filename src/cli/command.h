// What a command of the tool is. Each lives in a file of its own; main.cc lists them.
#pragma once

#include <span>
#include <string_view>

#include "cli/console.h"
#include "cli/options.h"

namespace qcowkit::cli {

struct Command {
  std::string_view name;
  std::string_view arguments;    ///< what follows the options, as the usage line shows it
  std::string_view summary;      ///< one line for the list of commands
  std::string_view description;  ///< for the command's own help; paragraphs end in a line end
  std::span<const OptionSpec> options;
  std::string_view details;  ///< exit codes and examples, printed as they are
  /// What the last word is; by default nothing special.
  LastWord last_word = LastWord::anything;
  /// Throws `Failure` if an option's value is wrong by itself; called for each option, before what
  /// follows it is looked at. Null: values are looked at when all is known.
  void (*check)(const Arguments& so_far) = nullptr;
  int error_exit_code;  ///< what a failure ends with where it names no code itself
  /// Does the work and returns the exit code. Throws `Failure` or `qcowkit::Error`.
  int (*run)(const Arguments& arguments, Console& console);
};

extern const Command kAmendCommand;
extern const Command kBenchCommand;
extern const Command kBitmapCommand;
extern const Command kCheckCommand;
extern const Command kCommitCommand;
extern const Command kCompareCommand;
extern const Command kConvertCommand;
extern const Command kCreateCommand;
extern const Command kDdCommand;
extern const Command kDrawCommand;
extern const Command kInfoCommand;
extern const Command kIoCommand;
extern const Command kMapCommand;
extern const Command kMeasureCommand;
extern const Command kNbdCommand;
extern const Command kRebaseCommand;
extern const Command kResizeCommand;
extern const Command kSnapshotCommand;

}  // namespace qcowkit::cli
