// What the commands that move data have in common: their words, buffers and patterns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/console.h"

namespace qcowkit::cli::io {

/// What a reader's memory holds before.
inline constexpr std::byte kUnread{0xab};

inline constexpr std::byte kDefaultPattern{0xcd};

struct Range {
  std::uint64_t offset;
  std::uint64_t length_bytes;
};

/// "off len [len..]", for requests from and to several buffers: the lengths are added up. Throws
/// `Complaint`, or `WrongUsage` if words are missing.
Range parse_vector(std::span<const std::string> operands, Console& console);

/// Throws `Complaint` unless one request can move `length_bytes`, which was written as `text`.
/// `except` says which option would help, if any (" without -n").
void require_request_size(std::uint64_t length_bytes, const std::string& text, const char* except);

/// The part of what was read that is to be of one byte all over.
struct Verification {
  std::byte pattern;
  std::uint64_t offset;  ///< within what was read
  std::uint64_t length_bytes;
};

/// Looks at what was read from `disk_offset` on. Empty if all is as expected, else the line that
/// says that it is not.
std::string verify(std::span<const std::byte> bytes, std::uint64_t disk_offset,
                   const Verification& expected);

}  // namespace qcowkit::cli::io
