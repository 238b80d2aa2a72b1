// Lists like "size=1G,backing_file=a,,b": what -o, --image-opts and --object take.
#include "base/option_list.h"

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

}  // namespace qcowkit
