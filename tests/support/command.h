// Other programs, run from tests.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace qcowkit::test {

/// What a finished program left.
struct CommandResult {
  int exit_code = 0;  ///< 128 + the signal's number if a signal ended it; 127 if it was not found
  std::string out;
  std::string err;

  bool ok() const noexcept { return exit_code == 0; }
};

/// Runs `argv` (found through PATH) with `input` as its standard input, and waits for its end.
/// Throws `std::system_error` if no process can be started.
CommandResult run(const std::vector<std::string>& argv, std::string_view input = {});

/// True if PATH holds a program of this name.
bool have_command(const std::string& name);

/// A program that runs beside the test and is told what to do through its standard input;
/// its standard output and standard error are read as one stream. It is killed if it still
/// runs at the end of this object's life.
class BackgroundCommand {
 public:
  explicit BackgroundCommand(const std::vector<std::string>& argv);
  ~BackgroundCommand();
  BackgroundCommand(const BackgroundCommand&) = delete;
  BackgroundCommand& operator=(const BackgroundCommand&) = delete;

  /// Writes `text` and a line end to the program.
  void send_line(std::string_view text);
  /// Reads output until it holds `text`; false if the program ends or 20 seconds pass before.
  bool wait_for(std::string_view text);
  /// All output read so far.
  const std::string& output() const noexcept { return output_; }
  /// Closes the program's standard input and waits for its end; returns its exit code.
  int finish();

 private:
  pid_t pid_ = -1;
  int input_fd_ = -1;
  int output_fd_ = -1;
  std::string output_;
};

}  // namespace qcowkit::test
