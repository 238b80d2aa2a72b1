// The options of one command of the I/O program, read as getopt reads them.
#include "cli/io/command_options.h"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace qcowkit::cli::io {

namespace {

/// Goes through the words once, letter by letter.
class Scan {
 public:
  Scan(std::span<const std::string> words, std::span<const CommandOption> options)
      : words_(words), options_(options) {}

  /// Applies the next option; false if there is none behind it. Throws `BadOption`.
  bool apply_next() {
    if (bundle_.empty()) bundle_ = next_bundle();
    if (bundle_.empty()) return false;
    const char letter = bundle_[0];
    bundle_.remove_prefix(1);
    const auto option = std::ranges::find(options_, letter, &CommandOption::letter);
    if (option == options_.end()) {
      throw BadOption(fmt::format("{}: invalid option -- '{}'", words_[0], letter));
    }
    option->apply(option->has_value ? take_value(letter) : std::string());
    return !option->is_last;
  }

  /// Complete once there are no more options.
  std::vector<std::string>& operands() noexcept { return operands_; }

 private:
  /// The letters of the next word that holds options; what comes before it are operands.
  std::string_view next_bundle() {
    while (next_word_ < words_.size()) {
      const std::string& word = words_[next_word_++];
      if (word == "--") break;
      if (word.size() > 1 && word[0] == '-') return std::string_view(word).substr(1);
      operands_.push_back(word);
    }
    for (; next_word_ < words_.size(); ++next_word_) operands_.push_back(words_[next_word_]);
    return {};
  }

  std::string take_value(char letter) {
    if (!bundle_.empty()) return std::string(std::exchange(bundle_, {}));
    if (next_word_ < words_.size()) return words_[next_word_++];
    throw BadOption(fmt::format("{}: option requires an argument -- '{}'", words_[0], letter));
  }

  std::span<const std::string> words_;
  std::span<const CommandOption> options_;
  std::size_t next_word_ = 1;
  std::string_view bundle_;  // what is left of the word that is being read
  std::vector<std::string> operands_;
};

}  // namespace

CommandOption flag(char letter, bool& is_given) {
  return without_value(letter, [&is_given] { is_given = true; });
}

CommandOption last_flag(char letter, bool& is_given) {
  CommandOption option = flag(letter, is_given);
  option.is_last = true;
  return option;
}

CommandOption ignored(char letter) {
  return without_value(letter, [] {});
}

CommandOption without_value(char letter, std::function<void()> take) {
  return {.letter = letter, .apply = [take = std::move(take)](const std::string&) { take(); }};
}

CommandOption with_value(char letter, std::function<void(const std::string& value)> take) {
  return {.letter = letter, .apply = std::move(take), .has_value = true};
}

std::vector<std::string> apply_options(std::span<const std::string> words,
                                       std::initializer_list<CommandOption> options) {
  Scan scan(words, {options.begin(), options.size()});
  while (scan.apply_next()) {
  }
  return std::move(scan.operands());
}

}  // namespace qcowkit::cli::io
