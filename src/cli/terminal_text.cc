// Text that is shown on a terminal.
#include "cli/terminal_text.h"

#include <cstddef>
#include <optional>

#include "base/utf8.h"

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

/// True for what a terminal acts upon, but for line ends and tabs.
bool is_command(char32_t c) { return is_control(c) && c != U'\n' && c != U'\t'; }

}  // namespace

std::string for_terminal(std::string_view text) {
  std::string shown;
  shown.reserve(text.size());
  while (!text.empty()) {
    if (const std::size_t style = style_size(text); style != 0) {
      shown.append(text.substr(0, style));
      text.remove_prefix(style);
      continue;
    }
    const bool ends_line = text == "\r";
    const std::string_view before = text;
    const std::optional<char32_t> character = take_utf8(text);
    const std::string_view bytes = before.substr(0, before.size() - text.size());
    if (character && is_command(*character) && !ends_line) {
      append_spelt_out(shown, bytes);
    } else {
      shown.append(bytes);
    }
  }
  return shown;
}

}  // namespace qcowkit::cli
