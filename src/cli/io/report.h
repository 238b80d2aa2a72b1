// What the I/O program tells of a request that it has made.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace qcowkit::cli::io {

using Clock = std::chrono::steady_clock;

struct Transfer {
  std::string_view verb;  ///< "read", "wrote", "discard"
  std::uint64_t offset;
  std::uint64_t length_bytes;
  Clock::duration time;
};

/// How a transfer is told of: -q, -C.
struct ReportOptions {
  bool quiet = false;
  bool machine_readable = false;
};

/// Two lines for people, or one line of numbers with commas between them; nothing if quiet.
std::string transfer_text(const Transfer& transfer, const ReportOptions& options);

/// The bytes in lines of sixteen, in hexadecimal and as text. `offset` is the first one's.
std::string hex_dump(std::span<const std::byte> bytes, std::uint64_t offset);

}  // namespace qcowkit::cli::io
