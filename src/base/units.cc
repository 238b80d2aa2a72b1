// Sizes as people write and read them: "1.5G" and "1.5 GiB".
#include "base/units.h"

#include <fmt/core.h>

#include <charconv>
#include <cstdlib>
#include <system_error>

#include "base/checked.h"

namespace qcowkit {

namespace {

constexpr std::string_view kSuffixes = "bkmgtpe";

/// The power of two that a suffix stands for.
std::optional<unsigned> suffix_bits(char suffix) {
  if (suffix >= 'A' && suffix <= 'Z') suffix = static_cast<char>(suffix - 'A' + 'a');
  const std::size_t index = kSuffixes.find(suffix);
  if (index == std::string_view::npos) return std::nullopt;
  return static_cast<unsigned>(10 * index);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view without_blanks_and_plus(std::string_view text) {
  const std::size_t start = text.find_first_not_of(" \t\n\v\f\r");
  if (start == std::string_view::npos) return {};
  text.remove_prefix(start);
  if (text.starts_with('+')) text.remove_prefix(1);
  return text;
}

/// The number at the start of `text`, which is left with what follows it. Digits that do not fit
/// are consumed and give `result_out_of_range`.
std::errc take_integer(std::string_view& text, int base, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return error;
}

/// The fraction (".5") at the start of `text` in units of 2^-64, 0 where there is none. A fraction
/// that a double rounds up to 1 counts as 0, which is what the reference makes of it.
std::uint64_t take_fraction(std::string_view& text) {
  if (!text.starts_with('.')) return 0;
  text.remove_prefix(1);
  std::size_t length = 0;
  while (length < text.size() && is_digit(text[length])) ++length;
  // "5e-1" means the same in every locale, ".5" does not.
  const std::string number = fmt::format("0{}e-{}", text.substr(0, length), length);
  text.remove_prefix(length);
  const double fraction = std::strtod(number.c_str(), nullptr);
  return fraction < 1 ? static_cast<std::uint64_t>(fraction * 0x1p64) : 0;
}

/// `whole` and `fraction` (in units of 2^-64) times 2^`bits`, rounded to an integer.
std::optional<std::uint64_t> scaled(std::uint64_t whole, std::uint64_t fraction, unsigned bits) {
  const auto base = checked_multiply(whole, std::uint64_t{1} << bits);
  if (!base || bits == 0) return base;
  const std::uint64_t half_up = (fraction >> (63 - bits)) & 1;
  return checked_add(*base, (fraction >> (64 - bits)) + half_up);
}

std::optional<std::uint64_t> fail(SizeProblem* problem, SizeProblem why) {
  if (problem != nullptr) *problem = why;
  return std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text, SizeProblem* problem) {
  text = without_blanks_and_plus(text);
  const bool is_hex = text.starts_with("0x") || text.starts_with("0X");
  if (is_hex) text.remove_prefix(2);

  std::uint64_t whole = 0;
  const std::errc error = take_integer(text, is_hex ? 16 : 10, whole);
  if (error == std::errc::result_out_of_range) {
    return fail(problem, text.empty() ? SizeProblem::out_of_range : SizeProblem::syntax);
  }
  if (error != std::errc{}) return fail(problem, SizeProblem::syntax);

  const std::uint64_t fraction = is_hex ? 0 : take_fraction(text);
  unsigned bits = 0;
  if (!text.empty()) {
    const auto suffix = suffix_bits(text.front());
    if (!suffix || text.size() > 1) return fail(problem, SizeProblem::syntax);
    bits = *suffix;
  }
  if (bits == 0 && fraction != 0) return fail(problem, SizeProblem::syntax);

  const auto bytes = scaled(whole, fraction, bits);
  return bytes ? bytes : fail(problem, SizeProblem::out_of_range);
}

std::string human_size(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  unsigned unit = 0;
  while (unit < 6 && bytes >> (10 * unit) >= 1000) ++unit;
  const double units = static_cast<double>(bytes) / static_cast<double>(1ULL << (10 * unit));
  return fmt::format("{:.3g} {}", units, kUnits[unit]);
}

}  // namespace qcowkit
