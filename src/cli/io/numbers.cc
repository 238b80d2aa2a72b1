// Numbers as the commands of the I/O program take and print them.
#include "cli/io/numbers.h"

#include <fmt/core.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string_view>

#include "base/units.h"
#include "cli/io/complaint.h"

namespace qcowkit::cli::io {

namespace {

/// The suffixes that are no hexadecimal digits.
constexpr std::string_view kHexSuffixes = "kKmMgGtTpP";

bool is_hex_with_suffix(std::string_view text) {
  const bool is_hex = text.starts_with("0x") || text.starts_with("0X");
  return is_hex && kHexSuffixes.find(text.back()) != kHexSuffixes.npos;
}

/// Also a negative number may be too large rather than no number.
SizeProblem problem_of(const std::string& text) {
  SizeProblem problem = SizeProblem::syntax;
  parse_size(text.starts_with('-') ? text.substr(1) : text, &problem);
  return problem;
}

std::string without_zero_fraction(std::string text) {
  const std::size_t point = text.find('.');
  if (text.find_first_not_of('0', point + 1) == text.npos) text.resize(point);
  return text;
}

}  // namespace

std::uint64_t parse_number(const std::string& text, Console& console) {
  return parse_number(text, console, text);
}

std::uint64_t parse_number(const std::string& text, Console& console, const std::string& name) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
  const std::optional<std::uint64_t> number = parse_size(text);
  if (!number && problem_of(text) == SizeProblem::syntax) {
    throw Complaint(fmt::format(
        "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- {}", name));
  }
  if (number && is_hex_with_suffix(text)) {
    console.error(
        fmt::format("warning: Using a multiplier suffix on hex numbers is deprecated: {}", text));
  }
  if (!number || *number > kMax) {
    throw Complaint(fmt::format("Parsing error: argument too large -- {}", name));
  }
  return *number;
}

std::byte parse_pattern(const std::string& text) {
  errno = 0;
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 0);
  if (text.empty() || *end != '\0' || errno != 0 || value < 0 || value > 255) {
    throw Complaint(fmt::format("{} is not a valid pattern byte", text));
  }
  return static_cast<std::byte>(value);
}

void require_whole_sectors(std::uint64_t value, const char* what) {
  if (value % kSectorBytes == 0) return;
  throw Complaint(fmt::format("{} is not a sector-aligned value for '{}'", value, what));
}

std::string size_text(double bytes) {
  struct Unit {
    int bits;
    std::string_view name;
  };
  constexpr std::array kUnits = {Unit{60, "EiB"}, Unit{50, "PiB"}, Unit{40, "TiB"},
                                 Unit{30, "GiB"}, Unit{20, "MiB"}, Unit{10, "KiB"}};
  for (const Unit& unit : kUnits) {
    const double unit_bytes = static_cast<double>(std::uint64_t{1} << unit.bits);
    if (bytes < unit_bytes) continue;
    return without_zero_fraction(fmt::format("{:.3f}", bytes / unit_bytes)) + ' ' +
           std::string(unit.name);
  }
  return without_zero_fraction(fmt::format("{:.6f}", bytes)) + " bytes";
}

}  // namespace qcowkit::cli::io
