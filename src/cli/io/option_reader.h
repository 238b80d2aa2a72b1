// The options of one command of the I/O program, read as getopt reads them.
#pragma once

#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace qcowkit::cli::io {

/// An option that the command does not have, or one whose value is missing.
class BadOption : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Options may stand before, between and behind the other words, in bundles ("-qP5") and with
/// their value as a word of its own; "--" ends them. Each is handed out before the next one is
/// looked at, so that of several mistakes the first is reported.
class OptionReader {
 public:
  /// `words` starts with the command's name and outlives the reader. `letters` are the options'
  /// letters, with a ':' behind those that take a value.
  OptionReader(std::span<const std::string> words, std::string_view letters)
      : words_(words), letters_(letters) {}

  /// The next option's letter; nothing behind the last one. Throws `BadOption`.
  std::optional<char> next();
  /// The value of the option that `next` has returned last.
  const std::string& value() const noexcept { return value_; }
  /// The words that are no options; complete once `next` has returned nothing.
  const std::vector<std::string>& operands() const noexcept { return operands_; }

 private:
  std::string_view next_bundle();

  std::span<const std::string> words_;
  std::string_view letters_;
  std::size_t next_word_ = 1;
  std::string_view bundle_;  ///< what is left of the word that is being read
  std::string value_;
  std::vector<std::string> operands_;
};

}  // namespace qcowkit::cli::io
