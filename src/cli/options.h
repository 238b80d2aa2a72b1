// Command-line options: a table says what a command takes, `parse_arguments` reads by it.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace qcowkit::cli {

/// One option of a command. The parser and the help read the same table.
struct OptionSpec {
  char short_name;             ///< '\0': it has none
  std::string_view long_name;  ///< empty: it has none
  std::string_view value;      ///< what the help calls its value; empty: it takes none
  std::string_view help;
  /// The long name is one of newer releases of the reference: a shortened name means another first.
  bool is_newer = false;
};

/// What the last word of a command line may be.
enum class LastWord {
  anything,
  argument,  ///< an argument, also if it starts with a dash (a size like "-1G")
};

class Arguments;

/// Looks at what has been read so far, whenever an option has been added, and throws `Failure` if
/// that makes no sense.
using LookAtOptions = std::function<void(const Arguments& so_far)>;

/// What a command was called with. Options are asked for by either of their names, with the dashes.
class Arguments {
 public:
  explicit Arguments(std::span<const OptionSpec> specs) : specs_(specs), values_(specs.size()) {}

  bool has(std::string_view name) const { return !values_[index_of(name)].empty(); }
  /// The value given last.
  std::optional<std::string> value(std::string_view name) const;
  /// All values in the order given.
  const std::vector<std::string>& all(std::string_view name) const {
    return values_[index_of(name)];
  }
  /// Every option in the order given, by its long name (or its short one, where it has no other).
  struct Given {
    std::string_view name;
    std::string value;
  };
  const std::vector<Given>& sequence() const noexcept { return sequence_; }
  const std::vector<std::string>& positional() const noexcept { return positional_; }
  bool help_wanted() const noexcept { return help_wanted_; }

 private:
  friend Arguments parse_arguments(std::span<const std::string_view>, std::span<const OptionSpec>,
                                   LastWord, const LookAtOptions&);
  std::size_t index_of(std::string_view name) const;

  std::span<const OptionSpec> specs_;
  std::vector<std::vector<std::string>> values_;  ///< for each of `specs_`; "" where it takes none
  std::vector<Given> sequence_;
  std::vector<std::string> positional_;
  bool help_wanted_ = false;
};

/// Reads the words behind a command's name, as getopt_long does: options and file names in any
/// order, short options bundled (`-pO raw`, `-Oraw`), long ones with `=` or as two words and
/// shortened as far as they stay unambiguous, `--` before names that start with a dash.
/// Stops at the first `-h`, `--help` or `--version`. Throws `UsageError`.
Arguments parse_arguments(std::span<const std::string_view> words,
                          std::span<const OptionSpec> specs,
                          LastWord last_word = LastWord::anything);
Arguments parse_arguments(std::span<const std::string_view> words,
                          std::span<const OptionSpec> specs, LastWord last_word,
                          const LookAtOptions& look_at);

}  // namespace qcowkit::cli
