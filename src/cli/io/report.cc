// What the I/O program tells of a request that it has made.
#include "cli/io/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>

#include "cli/io/numbers.h"

namespace qcowkit::cli::io {

namespace {

/// "0:01:02.34"; for people, less than a second is "00.34 sec".
std::string time_text(double seconds, bool machine_readable) {
  const auto whole = static_cast<std::uint64_t>(seconds);
  if (whole == 0 && !machine_readable) return fmt::format("{:05.2f} sec", seconds);
  const std::uint64_t minutes = whole / 60;
  return fmt::format("{}:{:02}:{:05.2f}", minutes / 60, minutes % 60,
                     seconds - static_cast<double>(minutes * 60));
}

/// In ASCII, whatever the locale.
constexpr bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

std::string transfer_text(const Transfer& transfer, const ReportOptions& options) {
  if (options.quiet) return {};
  // What the clock cannot tell from nothing has still taken some time.
  const Clock::duration time = std::max(transfer.time, Clock::duration(1));
  const double seconds = std::chrono::duration<double>(time).count();
  const double bytes_per_second = static_cast<double>(transfer.length_bytes) / seconds;
  const double requests_per_second = 1 / seconds;
  if (options.machine_readable) {
    return fmt::format("{},1,{},{:.3f},{:.3f}\n", transfer.length_bytes, time_text(seconds, true),
                       bytes_per_second, requests_per_second);
  }
  return fmt::format(
      "{0} {1}/{1} bytes at offset {2}\n{3}, 1 ops; {4} ({5}/sec and {6:.4f} ops/sec)\n",
      transfer.verb, transfer.length_bytes, transfer.offset,
      size_text(static_cast<double>(transfer.length_bytes)), time_text(seconds, false),
      size_text(bytes_per_second), requests_per_second);
}

std::string hex_dump(std::span<const std::byte> bytes, std::uint64_t offset) {
  constexpr std::size_t kLineBytes = 16;
  std::string text;
  auto out = std::back_inserter(text);
  while (!bytes.empty()) {
    const std::span<const std::byte> line = bytes.first(std::min(bytes.size(), kLineBytes));
    fmt::format_to(out, "{:08x}:  ", offset);
    for (const std::byte byte : line) fmt::format_to(out, "{:02x} ", std::to_integer<int>(byte));
    text += ' ';
    for (const std::byte byte : line) {
      const char c = std::to_integer<char>(byte);
      text += is_letter_or_digit(c) ? c : '.';
    }
    text += '\n';
    bytes = bytes.subspan(line.size());
    offset += line.size();
  }
  return text;
}

}  // namespace qcowkit::cli::io
