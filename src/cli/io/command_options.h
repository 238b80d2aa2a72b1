// The options of one command of the I/O program, read as getopt reads them.
#pragma once

#include <functional>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace qcowkit::cli::io {

/// An option that the command does not have, or one whose value is missing.
class BadOption : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A letter, and what it does when it is met.
struct CommandOption {
  char letter;
  std::function<void(const std::string& value)> apply;
  bool has_value = false;
  bool is_last = false;  ///< nothing behind it is looked at
};

/// "-v": sets `is_given`.
CommandOption flag(char letter, bool& is_given);
/// The same; nothing behind it is looked at.
CommandOption last_flag(char letter, bool& is_given);
/// Accepted, and without any meaning.
CommandOption ignored(char letter);
/// "-n": `take` is called.
CommandOption without_value(char letter, std::function<void()> take);
/// "-P 5" or "-P5": `take` is called with the value.
CommandOption with_value(char letter, std::function<void(const std::string& value)> take);

/// Applies the options among `words`, which start with the command's name, and returns the other
/// words. Options may stand before, between and behind those, in bundles ("-qP5"); "--" ends them.
/// Each is applied before the next one is looked at, so that of several mistakes the first is
/// reported. Throws `BadOption` and what the options throw.
std::vector<std::string> apply_options(std::span<const std::string> words,
                                       std::initializer_list<CommandOption> options);

}  // namespace qcowkit::cli::io
