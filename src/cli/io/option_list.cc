// Lists of options of drivers, as the I/O program takes them.
#include "cli/io/option_list.h"

#include <fmt/core.h>

#include <algorithm>

namespace qcowkit::cli::io {

namespace {

/// The comma behind the list's first word; a doubled one is part of a word.
std::size_t end_of_first_word(const std::string& list) {
  std::size_t at = list.find(',');
  while (at != list.npos && list.compare(at, 2, ",,") == 0) at = list.find(',', at + 2);
  return std::min(at, list.size());
}

}  // namespace

ImageName parse_option_list(const std::string& list, Console& console) {
  if (list.empty()) return parse_image_name(list, true, {}, &console);
  const std::size_t end = end_of_first_word(list);
  const std::string word = list.substr(0, end);
  if (word.find('=') != word.npos) return parse_image_name(list, true, {}, &console);

  const std::string option = word.starts_with("no") ? word.substr(2) + "=off" : word + "=on";
  if (word != "help" && word != "?") {
    console.error(fmt::format("warning: short-form boolean option '{}' deprecated", word));
    console.write_error(fmt::format("Please use {} instead\n", option));
  }
  ImageName name = parse_image_name(option + list.substr(end), true, {}, &console);
  name.text = list;
  return name;
}

}  // namespace qcowkit::cli::io
