// What the commands that move data have in common: their words, buffers and patterns.
#include "cli/io/request_arguments.h"

#include <fmt/core.h>

#include <algorithm>

#include "cli/io/complaint.h"
#include "cli/io/numbers.h"

namespace qcowkit::cli::io {

Range parse_vector(std::span<const std::string> operands, Console& console) {
  if (operands.size() < 2) throw WrongUsage();
  Range range{parse_number(operands[0], console), 0};
  for (const std::string& text : operands.subspan(1)) {
    const std::uint64_t length_bytes = parse_number(text, console);
    if (length_bytes > kRequestBytesMax) {
      throw Complaint(fmt::format("Argument '{}' exceeds maximum size {}", text, kRequestBytesMax));
    }
    range.length_bytes += length_bytes;
    if (range.length_bytes > kRequestBytesMax) {
      throw Complaint(
          fmt::format("The total number of bytes exceed the maximum size {}", kRequestBytesMax));
    }
  }
  return range;
}

void require_request_size(std::uint64_t length_bytes, const std::string& text, const char* except) {
  if (length_bytes <= kRequestBytesMax) return;
  throw Complaint(
      fmt::format("length cannot exceed {}{}, given {}", kRequestBytesMax, except, text));
}

std::string verify(std::span<const std::byte> bytes, std::uint64_t disk_offset,
                   const Verification& expected) {
  const auto part = bytes.subspan(expected.offset, expected.length_bytes);
  if (std::ranges::all_of(part, [&](std::byte byte) { return byte == expected.pattern; }))
    return {};
  return fmt::format("Pattern verification failed at offset {}, {} bytes\n",
                     disk_offset + expected.offset, expected.length_bytes);
}

}  // namespace qcowkit::cli::io
