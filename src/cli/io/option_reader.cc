// The options of one command of the I/O program, read as getopt reads them.
#include "cli/io/option_reader.h"

#include <fmt/core.h>

namespace qcowkit::cli::io {

/// The letters of the next word that holds options; what comes before it are operands.
std::string_view OptionReader::next_bundle() {
  while (next_word_ < words_.size()) {
    const std::string& word = words_[next_word_++];
    if (word == "--") break;
    if (word.size() > 1 && word[0] == '-') return std::string_view(word).substr(1);
    operands_.push_back(word);
  }
  for (; next_word_ < words_.size(); ++next_word_) operands_.push_back(words_[next_word_]);
  return {};
}

std::optional<char> OptionReader::next() {
  if (bundle_.empty()) bundle_ = next_bundle();
  if (bundle_.empty()) return std::nullopt;
  const char letter = bundle_[0];
  bundle_.remove_prefix(1);

  const std::size_t at = letter == ':' ? letters_.npos : letters_.find(letter);
  if (at == letters_.npos) {
    throw BadOption(fmt::format("{}: invalid option -- '{}'", words_[0], letter));
  }
  value_.clear();
  if (letters_.substr(at + 1).starts_with(':')) {
    if (!bundle_.empty()) {
      value_ = bundle_;
      bundle_ = {};
    } else if (next_word_ < words_.size()) {
      value_ = words_[next_word_++];
    } else {
      throw BadOption(fmt::format("{}: option requires an argument -- '{}'", words_[0], letter));
    }
  }
  return letter;
}

}  // namespace qcowkit::cli::io
