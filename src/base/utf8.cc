// Characters in UTF-8 (RFC 3629), and strangers' texts as they may be shown.
#include "base/utf8.h"

#include <fmt/core.h>

#include <iterator>

namespace qcowkit {

namespace {

/// Characters that turn the direction of writing or begin a line.
bool moves_text(char32_t c) {
  return c == 0x061c || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
         (c >= 0x2066 && c <= 0x2069);
}

}  // namespace

std::optional<char32_t> take_utf8(std::string_view& text) {
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
  return is_valid ? std::optional(character) : std::nullopt;
}

void append_spelt_out(std::string& out, std::string_view bytes) {
  for (const char c : bytes) {
    fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(c));
  }
}

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::string_view before = text;
    const std::optional<char32_t> character = take_utf8(text);
    const std::string_view bytes = before.substr(0, before.size() - text.size());
    if (character && !is_control(*character) && !moves_text(*character)) {
      out += bytes;
    } else {
      append_spelt_out(out, bytes);
    }
  }
  return out;
}

}  // namespace qcowkit
