// Command-line options: a table says what a command takes, `parse_arguments` reads by it.
#include "cli/options.h"

#include <fmt/core.h>

#include <stdexcept>

#include "cli/option_error.h"

namespace qcowkit::cli {

namespace {

OptionError unrecognized(std::string_view word, std::string_view option) {
  return {OptionError::Kind::unknown, option, fmt::format("unrecognized option '{}'", word)};
}
OptionError unrecognized(std::string_view word) { return unrecognized(word, word); }

/// The option of this letter in `word`, which may hold several.
std::size_t find_short(std::span<const OptionSpec> specs, char name, std::string_view word) {
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (name != '\0' && specs[i].short_name == name) return i;
  }
  throw unrecognized(word, std::string{'-', name});
}

/// The only option whose long name starts with `name`, of those that are newer or are not.
std::optional<std::size_t> find_shortened(std::span<const OptionSpec> specs, std::string_view name,
                                          bool is_newer, std::string_view word) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].long_name.empty() || specs[i].is_newer != is_newer) continue;
    if (specs[i].long_name.starts_with(name)) found.push_back(i);
  }
  if (found.empty()) return std::nullopt;
  if (found.size() == 1) return found.front();
  std::string possibilities;
  for (const std::size_t i : found) possibilities += fmt::format(" '--{}'", specs[i].long_name);
  throw OptionError(OptionError::Kind::ambiguous, word,
                    fmt::format("unrecognized option '{}'", word), std::move(possibilities));
}

/// The option that `word` names, in full or as far as no other starts so.
std::size_t find_long(std::span<const OptionSpec> specs, std::string_view word) {
  const std::string_view name = word.substr(2, word.find('=') - 2);
  if (name.empty()) throw unrecognized(word);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].long_name == name) return i;
  }
  for (const bool is_newer : {false, true}) {
    if (const auto found = find_shortened(specs, name, is_newer, word)) return *found;
  }
  throw unrecognized(word);
}

OptionError missing_value(std::string_view word, std::string_view option) {
  return {OptionError::Kind::lacks_value, option,
          fmt::format("missing argument for option '{}'", word)};
}

}  // namespace

std::string OptionError::systems_words() const {
  const bool is_short = !option_.starts_with("--");
  switch (kind_) {
    case Kind::unknown:
      return is_short ? fmt::format("invalid option -- '{}'", option_.substr(1))
                      : fmt::format("unrecognized option '{}'", option_);
    case Kind::ambiguous:
      return fmt::format("option '{}' is ambiguous; possibilities:{}", option_, possibilities_);
    case Kind::lacks_value:
      return is_short ? fmt::format("option requires an argument -- '{}'", option_.substr(1))
                      : fmt::format("option '{}' requires an argument", option_);
    case Kind::takes_no_value:
      return fmt::format("option '{}' doesn't allow an argument", option_);
  }
  return what();
}

std::optional<std::string> Arguments::value(std::string_view name) const {
  const std::vector<std::string>& given = all(name);
  if (given.empty()) return std::nullopt;
  return given.back();
}

std::size_t Arguments::index_of(std::string_view name) const {
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    const bool is_short = name.size() == 2 && name[1] == specs_[i].short_name;
    const bool is_long = name.starts_with("--") && name.substr(2) == specs_[i].long_name;
    if (is_short || is_long) return i;
  }
  throw std::logic_error(fmt::format("the command's table has no option {}", name));
}

Arguments parse_arguments(std::span<const std::string_view> words,
                          std::span<const OptionSpec> specs, LastWord last_word) {
  return parse_arguments(words, specs, last_word, [](const Arguments& /*so_far*/) {});
}

Arguments parse_arguments(std::span<const std::string_view> words,
                          std::span<const OptionSpec> specs, LastWord last_word,
                          const LookAtOptions& look_at) {
  Arguments result(specs);
  std::string_view last;
  const bool has_last = last_word == LastWord::argument && !words.empty() && words.back() != "-h" &&
                        words.back() != "--help";
  if (has_last) {
    last = words.back();
    words = words.first(words.size() - 1);
  }
  std::size_t next = 0;
  bool has_ended = false;  // what is wanted is clear

  const auto give = [&](std::size_t index, std::string_view value) {
    result.values_[index].emplace_back(value);
    const OptionSpec& spec = specs[index];
    result.sequence_.push_back(
        {spec.long_name.empty() ? std::string_view(&spec.short_name, 1) : spec.long_name,
         std::string(value)});
    if (spec.long_name == "help") result.help_wanted_ = true;
    has_ended = result.help_wanted_ || spec.long_name == "version";
    look_at(result);
  };
  const auto take_long = [&](std::string_view word) {
    const std::size_t equals = word.find('=');
    const std::size_t index = find_long(specs, word);
    if (specs[index].value.empty()) {
      if (equals != word.npos) {
        throw OptionError(OptionError::Kind::takes_no_value, word.substr(0, equals),
                          fmt::format("unrecognized option '{}'", word));
      }
      give(index, {});
    } else if (equals != word.npos) {
      give(index, word.substr(equals + 1));
    } else {
      if (next == words.size()) throw missing_value(word, word);
      give(index, words[next++]);
    }
  };
  const auto take_bundle = [&](std::string_view bundle) {
    for (std::size_t i = 1; i < bundle.size() && !has_ended; ++i) {
      const std::size_t index = find_short(specs, bundle[i], bundle);
      if (specs[index].value.empty()) {
        give(index, {});
        continue;
      }
      if (i + 1 < bundle.size()) {
        give(index, bundle.substr(i + 1));
      } else {
        if (next == words.size()) throw missing_value(bundle, std::string{'-', bundle[i]});
        give(index, words[next++]);
      }
      return;
    }
  };

  bool options_ended = false;
  while (next < words.size() && !has_ended) {
    const std::string_view word = words[next++];
    if (options_ended || word.size() < 2 || word[0] != '-') {
      result.positional_.emplace_back(word);
    } else if (word == "--") {
      options_ended = true;
    } else if (word[1] == '-') {
      take_long(word);
    } else {
      take_bundle(word);
    }
  }
  if (has_last) result.positional_.emplace_back(last);
  return result;
}

}  // namespace qcowkit::cli
