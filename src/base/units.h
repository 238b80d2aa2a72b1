// Sizes as people write and read them: "1.5G" and "1.5 GiB".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace qcowkit {

/// Why a text is not a size. The reference's messages tell the two apart.
enum class SizeProblem {
  syntax,        ///< not a size at all
  out_of_range,  ///< a size of 2^64 bytes or more
};

/// The number of bytes that `text` means, read as the reference reads sizes:
/// - digits, optionally followed by a fraction ("1.5", "5."); blanks and a '+' may lead;
/// - then at most one suffix b, k, M, G, T, P or E in either case, in powers of 1024; none means
///   bytes, and bytes have no fraction other than zero;
/// - or "0x" and hexadecimal digits, with a suffix that is no hexadecimal digit (so "0x1b" is 27).
/// A fraction is rounded to whole bytes, halves upwards. Anything else, a negative number too, is
/// no size; `problem` (if given) then tells why.
std::optional<std::uint64_t> parse_size(std::string_view text, SizeProblem* problem = nullptr);

/// `bytes` to three significant digits in the largest unit in which it is at least 1000/1024, as
/// the reference prints it: "0 B", "192 KiB", "1.76 MiB", "0.978 GiB" and, just below a step,
/// "1e+03 MiB".
std::string human_size(std::uint64_t bytes);

}  // namespace qcowkit
