// write, writev: writes to the disk.
#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "cli/io/command.h"
#include "cli/io/command_options.h"
#include "cli/io/complaint.h"
#include "cli/io/disk.h"
#include "cli/io/numbers.h"
#include "cli/io/pattern_file.h"
#include "cli/io/report.h"
#include "cli/io/request_arguments.h"

namespace qcowkit::cli::io {

namespace {

/// Makes the request and tells of it; `name` is what it is called if it fails.
template <typename Request>
bool write_and_tell(std::string_view name, const Range& range, const ReportOptions& report,
                    Session& session, Request request) {
  const Clock::time_point begin = Clock::now();
  try {
    request();
  } catch (const std::exception& e) {
    throw Complaint(fmt::format("{} failed: {}", name, error_name(e)));
  }
  const Transfer transfer{"wrote", range.offset, range.length_bytes, Clock::now() - begin};
  session.print_finished();
  session.console().write(transfer_text(transfer, report));
  return true;
}

struct WriteOptions {
  bool to_vm_state = false;
  bool compressed = false;
  bool durable = false;
  bool no_fallback = false;
  bool may_unmap = false;
  bool zeroes = false;
  std::optional<std::byte> pattern;
  std::optional<std::string> pattern_file;
  ReportOptions report;
};

void require_sense(const WriteOptions& options) {
  if (options.to_vm_state && options.zeroes) {
    throw Complaint("-b and -z cannot be specified at the same time");
  }
  if (options.durable && (options.to_vm_state || options.compressed)) {
    throw Complaint("-f and -b or -c cannot be specified at the same time");
  }
  if (options.no_fallback && !options.zeroes) {
    throw Complaint("-n requires -z to be specified");
  }
  if (options.may_unmap && !options.zeroes) throw Complaint("-u requires -z to be specified");
  const int sources =
      (options.zeroes ? 1 : 0) + (options.pattern ? 1 : 0) + (options.pattern_file ? 1 : 0);
  if (sources > 1) {
    throw Complaint("Only one of -z, -P, and -s can be specified at the same time");
  }
}

std::vector<std::byte> data_to_write(const WriteOptions& options, std::uint64_t length_bytes) {
  if (options.pattern_file) return repeat_file(*options.pattern_file, length_bytes);
  return std::vector<std::byte>(length_bytes, options.pattern.value_or(kDefaultPattern));
}

bool run_write(const Words& words, Session& session) {
  Console& console = session.console();
  WriteOptions options;
  const Words operands = apply_options(
      words,
      {
          flag('b', options.to_vm_state),
          flag('c', options.compressed),
          flag('C', options.report.machine_readable),
          flag('f', options.durable),
          flag('n', options.no_fallback),
          ignored('p'),
          with_value('P', [&](const std::string& text) { options.pattern = parse_pattern(text); }),
          flag('q', options.report.quiet),
          with_value('s', [&](const std::string& path) { options.pattern_file = path; }),
          flag('u', options.may_unmap),
          flag('z', options.zeroes),
      });
  if (operands.size() != 2) throw WrongUsage();
  require_sense(options);
  const Range range{parse_number(operands[0], console), parse_number(operands[1], console)};
  if (!options.no_fallback) require_request_size(range.length_bytes, operands[1], " without -n");
  if (options.to_vm_state || options.compressed) {
    require_whole_sectors(range.offset, "offset");
    require_whole_sectors(range.length_bytes, "count");
  }

  Disk& disk = session.disk();
  if (options.zeroes) {
    return write_and_tell("write", range, options.report, session, [&] {
      disk.write_zeroes({range.offset, range.length_bytes, options.may_unmap, options.no_fallback,
                         options.durable});
    });
  }
  const std::vector<std::byte> data = data_to_write(options, range.length_bytes);
  return write_and_tell("write", range, options.report, session, [&] {
    if (options.to_vm_state) {
      disk.image().write_vm_state(range.offset, data);
    } else if (options.compressed) {
      disk.write_compressed(range.offset, data);
    } else {
      disk.write(range.offset, data, options.durable);
    }
  });
}

bool run_writev(const Words& words, Session& session) {
  bool durable = false;
  ReportOptions report;
  std::byte pattern = kDefaultPattern;
  const Words operands = apply_options(
      words, {
                 flag('C', report.machine_readable),
                 flag('f', durable),
                 with_value('P', [&](const std::string& text) { pattern = parse_pattern(text); }),
                 flag('q', report.quiet),
             });
  const Range range = parse_vector(operands, session.console());
  const std::vector<std::byte> data(range.length_bytes, pattern);
  return write_and_tell("writev", range, report, session,
                        [&] { session.disk().write(range.offset, data, durable); });
}

}  // namespace

constexpr Command kWriteCommand{
    .name = "write",
    .alias = "w",
    .arguments = "[-bcCfnquz] [-P pattern | -s source_file] off len",
    .summary = "writes a number of bytes at a specified offset",
    .help = R"(
 Writes LEN bytes from OFF on, 0xcd unless something else is asked for, and tells how long
 that took.

 Example:
 'write -P 0x55 512 1k' makes the kilobyte that starts at byte 512 consist of 0x55.

 -b         writes to the area of the machine's state instead; whole sectors only
 -c         stores compressed clusters
 -C         tells the result as numbers with commas between them
 -f         does not return before what was written is durable
 -P PATTERN writes this byte
 -s FILE    writes what the file holds, over and over again
 -z         makes the range read as zeroes
 -u         with -z: its space may be given back
 -n         with -z: fails rather than write zeroes byte by byte
 -q         says nothing but errors
 -p         has no effect

)",
    .arguments_min = 2,
    .needs_image = true,
    .changes_image = true,
    .run = run_write,
};

constexpr Command kWritevCommand{
    .name = "writev",
    .arguments = "[-Cfq] [-P pattern] off len [len..]",
    .summary = "writes a number of bytes at a specified offset",
    .help = R"(
 Writes from OFF on out of several buffers, each as long as its LEN.

 Example:
 'writev 512 1k 1k' writes two kilobytes from byte 512 on.

 -C         tells the result as numbers with commas between them
 -f         does not return before what was written is durable
 -P PATTERN writes this byte instead of 0xcd
 -q         says nothing but errors

)",
    .arguments_min = 2,
    .needs_image = true,
    .changes_image = true,
    .run = run_writev,
};

}  // namespace qcowkit::cli::io
