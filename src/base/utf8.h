// Characters in UTF-8 (RFC 3629), and strangers' texts as they may be shown.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace qcowkit {

/// Takes one character from the front of `text`, which is not empty. Null: what stood there is no
/// UTF-8; a byte, or the start of a character that does not go on, was taken.
std::optional<char32_t> take_utf8(std::string_view& text);

/// The control characters of ASCII and of Latin-1.
constexpr bool is_control(char32_t c) noexcept { return c < 0x20 || (c >= 0x7f && c < 0xa0); }

/// Appends each byte as in "\x1b".
void append_spelt_out(std::string& out, std::string_view bytes);

/// `text`, in which whatever is no character to look at is spelt out as in "\x1b": what a name in a
/// stranger's image holds has no say in what a terminal or a drawing does.
std::string printable(std::string_view text);

}  // namespace qcowkit
