// Texts as JSON writes them.
#include "base/json_string.h"

#include <fmt/core.h>

#include <cstdint>
#include <iterator>

namespace qcowkit {

namespace {

constexpr char32_t kReplacement = 0xfffd;

/// Takes one character from the front of `text`; a byte, or the start of a character, that is not
/// UTF-8 counts as U+FFFD.
char32_t take_character(std::string_view& text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) {
    text.remove_prefix(1);
    return first;
  }
  const unsigned length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  char32_t character = first & (0x7fu >> length);
  std::size_t taken = 1;
  if (first >= 0xc2 && first <= 0xf4) {
    while (taken < length && taken < text.size() && (byte(taken) & 0xc0) == 0x80) {
      character = (character << 6) | (byte(taken++) & 0x3fu);
    }
  }
  text.remove_prefix(taken);
  static constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = character >= 0xd800 && character <= 0xdfff;
  const bool is_valid =
      taken == length && character >= kSmallest[length] && character <= 0x10ffff && !is_surrogate;
  return is_valid ? character : kReplacement;
}

void append_escaped(std::string& out, char32_t c) {
  const auto append_unit = [&](std::uint32_t unit) {
    fmt::format_to(std::back_inserter(out), "\\u{:04X}", unit);
  };
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\b':
      out += "\\b";
      return;
    case '\f':
      out += "\\f";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      break;
  }
  if (c >= 0x20 && c < 0x7f) {
    out += static_cast<char>(c);
  } else if (c < 0x10000) {
    append_unit(c);
  } else {  // a surrogate pair
    append_unit(0xd800 + ((c - 0x10000) >> 10));
    append_unit(0xdc00 + ((c - 0x10000) & 0x3ff));
  }
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) append_escaped(out, take_character(text));
  out += '"';
}

}  // namespace qcowkit
