// Lists like "size=1G,backing_file=a,,b": what -o, --image-opts and --object take.
#include "base/option_list.h"

#include <cctype>
#include <charconv>
#include <system_error>

namespace qcowkit {

namespace {

/// Takes the next word from `list`, its doubled commas made single.
std::string take_word(std::string_view& list) {
  std::string word;
  std::size_t i = 0;
  for (; i < list.size(); ++i) {
    if (list[i] == ',') {
      if (i + 1 == list.size() || list[i + 1] != ',') break;
      ++i;
    }
    word += list[i];
  }
  list.remove_prefix(i < list.size() ? i + 1 : i);
  return word;
}

}  // namespace

std::vector<KeyValue> parse_key_values(std::string_view list, std::string_view first_key) {
  std::vector<KeyValue> result;
  while (!list.empty()) {
    std::string word = take_word(list);
    const std::size_t equals = word.find('=');
    if (equals != word.npos) {
      result.push_back({word.substr(0, equals), word.substr(equals + 1), false});
    } else if (result.empty() && !first_key.empty()) {
      result.push_back({std::string(first_key), std::move(word), false});
    } else if (word.starts_with("no")) {
      result.push_back({word.substr(2), "off", true});
    } else {
      result.push_back({std::move(word), "on", true});
    }
  }
  return result;
}

bool asks_for_help(std::string_view list) {
  while (!list.empty()) {
    const std::string word = take_word(list);
    if (word == "help" || word == "?") return true;
  }
  return false;
}

bool is_joinable(std::string_view list) {
  if (list.empty() || list.front() == ',') return false;
  const std::size_t last = list.find_last_not_of(',');
  const std::size_t trailing_commas = list.size() - 1 - last;
  return trailing_commas % 2 == 0;
}

std::string escape_commas(std::string_view value) {
  std::string escaped;
  for (const char c : value) {
    escaped += c;
    if (c == ',') escaped += c;
  }
  return escaped;
}

std::optional<std::uint64_t> parse_number(std::string_view text, bool* is_too_large) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text[0])) != 0) {
    text.remove_prefix(1);
  }
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    base = 16;
    text.remove_prefix(2);
  } else if (text.size() > 1 && text[0] == '0') {
    base = 8;
  }
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped_at, error] = std::from_chars(text.data(), end, number, base);
  if (is_too_large != nullptr) {
    *is_too_large = error == std::errc::result_out_of_range && stopped_at == end;
  }
  if (error != std::errc{} || stopped_at != end) return std::nullopt;
  return is_negative ? -number : number;
}

std::optional<bool> parse_boolean(std::string_view text) {
  if (text == "on" || text == "yes" || text == "true" || text == "y") return true;
  if (text == "off" || text == "no" || text == "false" || text == "n") return false;
  return std::nullopt;
}

}  // namespace qcowkit
