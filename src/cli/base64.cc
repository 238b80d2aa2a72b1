// Text that stands for bytes: RFC 4648, section 4.
#include "cli/base64.h"

#include <array>
#include <cstdint>

#include "cli/failure.h"

namespace qcowkit::cli {

namespace {

constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr char kPadding = '=';
constexpr std::size_t kGroupDigits = 4;

}  // namespace

Secret decode_base64(const Secret& text) {
  Secret bytes = Secret::of_size(text.size());
  std::size_t size = 0;
  std::uint32_t bits = 0;
  std::array<bool, kGroupDigits> is_padding = {};
  std::size_t digits = 0;
  for (const std::byte byte : text.bytes()) {
    const char c = static_cast<char>(byte);
    if (c == '\0') throw Failure("Base64 data contains embedded NUL characters");
    if (c == '\n' || c == '\r') continue;
    const std::size_t digit = c == kPadding ? 0 : kDigits.find(c);
    if (digit == kDigits.npos) throw Failure("Base64 data contains invalid characters");
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    is_padding[digits++] = c == kPadding;
    if (digits < kGroupDigits) continue;
    // Padding stands for no byte of its own.
    for (std::size_t i = 0; i < kGroupDigits - 1; ++i) {
      if (i > 0 && is_padding[i + 1]) continue;
      bytes.bytes()[size++] = static_cast<std::byte>(bits >> (16 - 8 * i) & 0xff);
    }
    bits = 0;
    digits = 0;
  }
  return Secret(bytes.bytes().first(size));
}

}  // namespace qcowkit::cli
