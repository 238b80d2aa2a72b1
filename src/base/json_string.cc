// Texts as JSON writes them.
#include "base/json_string.h"

#include <fmt/core.h>

#include <cstdint>
#include <iterator>

#include "base/utf8.h"

namespace qcowkit {

namespace {

constexpr char32_t kReplacement = 0xfffd;

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
  while (!text.empty()) append_escaped(out, take_utf8(text).value_or(kReplacement));
  out += '"';
}

}  // namespace qcowkit
