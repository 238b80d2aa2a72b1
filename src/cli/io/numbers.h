// Numbers as the commands of the I/O program take and print them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/sector.h"
#include "cli/console.h"

namespace qcowkit::cli::io {

/// What one request can move at most: a whole number of sectors below 2 GiB.
inline constexpr std::uint64_t kRequestBytesMax = 2147483136;

/// An offset or a length in bytes: "64k", "0x200", "1.5M". At most 2^63 - 1. Warns on the console
/// of spellings that are on their way out. Throws `Complaint`.
std::uint64_t parse_number(const std::string& text, Console& console);
/// The same; what is wrong is called `name`.
std::uint64_t parse_number(const std::string& text, Console& console, const std::string& name);

/// A byte, in decimal, hexadecimal or octal. Throws `Complaint`.
std::byte parse_pattern(const std::string& text);

/// Throws `Complaint` unless `value` is a whole number of sectors; `what` is what it is called.
void require_whole_sectors(std::uint64_t value, const char* what);

/// "64 KiB", "1.500 MiB", "100 bytes"; a fraction of a byte has six digits.
std::string size_text(double bytes);

}  // namespace qcowkit::cli::io
