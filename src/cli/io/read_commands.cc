// read, readv: reads from the disk and tells, shows or verifies what is there.
#include <fmt/core.h>

#include <optional>
#include <vector>

#include "cli/io/command.h"
#include "cli/io/command_options.h"
#include "cli/io/complaint.h"
#include "cli/io/disk.h"
#include "cli/io/numbers.h"
#include "cli/io/report.h"
#include "cli/io/request_arguments.h"

namespace qcowkit::cli::io {

namespace {

struct ReadRequest {
  std::string_view name;  ///< what it is called if it fails
  Range range = {};
  bool from_vm_state = false;
  bool dump = false;
  std::optional<Verification> expected = {};
  ReportOptions report = {};
};

/// Says whether the bytes are as expected.
bool read_and_tell(const ReadRequest& request, Session& session) {
  const auto& [offset, length_bytes] = request.range;
  // What is left of this was not read: a disk may say nothing of what it holds.
  std::vector<std::byte> bytes(length_bytes, kUnread);
  const Clock::time_point begin = Clock::now();
  try {
    if (request.from_vm_state) {
      session.image().read_vm_state(offset, bytes);
    } else {
      session.disk().read(offset, bytes);
    }
  } catch (const std::exception& e) {
    throw Complaint(fmt::format("{} failed: {}", request.name, error_name(e)));
  }
  const Transfer transfer{"read", offset, length_bytes, Clock::now() - begin};

  session.print_finished();
  Console& console = session.console();
  const std::string mismatch =
      request.expected ? verify(bytes, offset, *request.expected) : std::string();
  console.write(mismatch);
  if (!request.report.quiet) {
    if (request.dump) console.write(hex_dump(bytes, offset));
    console.write(transfer_text(transfer, request.report));
  }
  return mismatch.empty();
}

/// Where in the buffer the pattern is looked for.
struct VerifiedPart {
  std::optional<std::byte> pattern;
  std::optional<std::uint64_t> offset;
  std::optional<std::uint64_t> length_bytes;

  std::optional<Verification> within(std::uint64_t read_bytes) const {
    if (!pattern) {
      if (offset || length_bytes) throw WrongUsage();
      return std::nullopt;
    }
    const std::uint64_t begin = offset.value_or(0);
    if (begin > read_bytes || length_bytes.value_or(0) > read_bytes - begin) {
      throw Complaint("pattern verification range exceeds end of read data");
    }
    return Verification{*pattern, begin, length_bytes.value_or(read_bytes - begin)};
  }
};

bool run_read(const Words& words, Session& session) {
  Console& console = session.console();
  ReadRequest request{.name = "read"};
  VerifiedPart part;
  const auto number_to = [&console](std::optional<std::uint64_t>& number) {
    return [&](const std::string& text) { number = parse_number(text, console); };
  };
  const Words operands = apply_options(
      words,
      {
          flag('b', request.from_vm_state),
          flag('C', request.report.machine_readable),
          with_value('l', number_to(part.length_bytes)),
          ignored('p'),
          with_value('P', [&](const std::string& text) { part.pattern = parse_pattern(text); }),
          flag('q', request.report.quiet),
          with_value('s', number_to(part.offset)),
          flag('v', request.dump),
      });
  if (operands.size() != 2) throw WrongUsage();
  auto& [offset, length_bytes] = request.range;
  offset = parse_number(operands[0], console);
  length_bytes = parse_number(operands[1], console);
  require_request_size(length_bytes, operands[1], "");
  request.expected = part.within(length_bytes);
  if (request.from_vm_state) {
    require_whole_sectors(offset, "offset");
    require_whole_sectors(length_bytes, "count");
  }
  return read_and_tell(request, session);
}

bool run_readv(const Words& words, Session& session) {
  ReadRequest request{.name = "readv"};
  std::optional<std::byte> pattern;
  const Words operands = apply_options(
      words, {
                 flag('C', request.report.machine_readable),
                 with_value('P', [&](const std::string& text) { pattern = parse_pattern(text); }),
                 flag('q', request.report.quiet),
                 flag('v', request.dump),
             });
  request.range = parse_vector(operands, session.console());
  if (pattern) request.expected = Verification{*pattern, 0, request.range.length_bytes};
  return read_and_tell(request, session);
}

}  // namespace

constexpr Command kReadCommand{
    .name = "read",
    .alias = "r",
    .arguments = "[-abCqv] [-P pattern [-s off] [-l len]] off len",
    .summary = "reads a number of bytes at a specified offset",
    .help = R"(
 Reads LEN bytes of the disk from OFF on, and tells how long that took.

 Example:
 'read -v 512 1k' shows the kilobyte that starts at byte 512.

 -b         reads the area of the machine's state instead; whole sectors only
 -C         tells the result as numbers with commas between them
 -P PATTERN fails unless all that was read is this byte
 -s OFF     what the pattern is looked for in starts so far behind OFF
 -l LEN     and is so long
 -v         shows the bytes
 -q         says nothing but errors
 -p         has no effect

)",
    .arguments_min = 2,
    .needs_image = true,
    .run = run_read,
};

constexpr Command kReadvCommand{
    .name = "readv",
    .arguments = "[-Cqv] [-P pattern] off len [len..]",
    .summary = "reads a number of bytes at a specified offset",
    .help = R"(
 Reads from OFF on into several buffers, each as long as its LEN.

 Example:
 'readv -v 512 1k 1k' shows the two kilobytes that start at byte 512.

 -C         tells the result as numbers with commas between them
 -P PATTERN fails unless all that was read is this byte
 -v         shows the bytes
 -q         says nothing but errors

)",
    .arguments_min = 2,
    .needs_image = true,
    .run = run_readv,
};

}  // namespace qcowkit::cli::io
