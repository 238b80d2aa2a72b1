// How a command ends when it cannot do its work.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace qcowkit::cli {

/// Ends the command: `message` is printed with the program's name before it, and the exit code is
/// the one that the command uses for errors (`Command::error_exit_code`) or `exit_code`.
class Failure : public std::runtime_error {
 public:
  static constexpr int kCommandsOwn = -1;

  explicit Failure(const std::string& message, int exit_code = kCommandsOwn)
      : std::runtime_error(message), exit_code_(exit_code) {}
  /// A message whose every line has the program's name before it.
  static Failure of_lines(const std::string& message) {
    Failure failure(message);
    failure.names_every_line_ = true;
    return failure;
  }

  int exit_code() const noexcept { return exit_code_; }
  bool names_every_line() const noexcept { return names_every_line_; }

 private:
  int exit_code_;
  bool names_every_line_ = false;
};

/// A command line that makes no sense; the reader is sent to the help. The exit code is 1 for
/// every command.
class UsageError : public Failure {
 public:
  explicit UsageError(const std::string& message) : Failure(message, 1) {}
};

/// Ends the command with exit code 0: it was asked for a list, which is printed.
class HelpText {
 public:
  explicit HelpText(std::string text) : text_(std::move(text)) {}

  const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

}  // namespace qcowkit::cli
