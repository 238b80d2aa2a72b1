// Text that is shown on a terminal.
#include "cli/terminal_text.h"

#include <fmt/core.h>

#include <cstddef>
#include <iterator>

namespace qcowkit::cli {

namespace {

constexpr std::string_view kEscape = "\033[";

/// What may follow "\033[" up to the "m": nothing that hides text or makes it unreadable.
bool is_harmless_style(std::string_view style) {
  if (style == "0" || style == "1") return true;
  if (style.starts_with("0;") || style.starts_with("1;")) style.remove_prefix(2);
  return style.size() == 2 && (style[0] == '3' || style[0] == '9') && style[1] >= '0' &&
         style[1] <= '7';
}

/// How many bytes at the start of `text` set a colour or bold print; 0: none.
std::size_t style_size(std::string_view text) {
  if (!text.starts_with(kEscape)) return 0;
  const std::size_t end = text.find('m');
  if (end == text.npos) return 0;
  return is_harmless_style(text.substr(kEscape.size(), end - kEscape.size())) ? end + 1 : 0;
}

bool is_control(unsigned char c) { return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f; }

/// The control characters U+0080 to U+009F, in UTF-8.
bool starts_with_high_control(std::string_view text) {
  return text.size() >= 2 && text[0] == '\xc2' && static_cast<unsigned char>(text[1]) >= 0x80 &&
         static_cast<unsigned char>(text[1]) < 0xa0;
}

}  // namespace

std::string for_terminal(std::string_view text) {
  std::string shown;
  shown.reserve(text.size());
  const auto show_codes = [&](std::string_view bytes) {
    for (const char c : bytes) {
      fmt::format_to(std::back_inserter(shown), "\\x{:02x}", static_cast<unsigned char>(c));
    }
  };
  while (!text.empty()) {
    std::size_t taken = 1;
    if (const std::size_t style = style_size(text); style != 0) {
      taken = style;
      shown.append(text.substr(0, taken));
    } else if (starts_with_high_control(text)) {
      taken = 2;
      show_codes(text.substr(0, taken));
    } else if (is_control(static_cast<unsigned char>(text[0])) && text != "\r") {
      show_codes(text.substr(0, 1));
    } else {
      shown.push_back(text[0]);
    }
    text.remove_prefix(taken);
  }
  return shown;
}

}  // namespace qcowkit::cli
