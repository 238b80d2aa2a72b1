// aio_read, aio_write, aio_flush: requests in the background.
#include <fmt/core.h>

#include <memory>
#include <optional>
#include <string>
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

/// Makes the request in the background and tells of it when it has ended.
template <typename Request, typename Tell>
void start(Session& session, std::string_view failure, Request request, Tell tell) {
  session.console().flush();  // a breakpoint speaks for itself
  session.background().start([failure, request, tell]() -> std::string {
    const Clock::time_point begin = Clock::now();
    try {
      request();
    } catch (const std::exception& e) {
      return fmt::format("{}: {}\n", failure, error_name(e));
    }
    return tell(Clock::now() - begin);
  });
}

/// A request that is made only to be counted as one that makes no sense.
bool pretend(std::string_view kind, Session& session) {
  session.console().print("injecting invalid {} request\n", kind);
  return true;
}

bool run_aio_read(const Words& words, Session& session) {
  bool dump = false;
  bool is_invalid = false;
  std::optional<std::byte> pattern;
  ReportOptions report;
  const Words operands = apply_options(
      words, {
                 flag('C', report.machine_readable),
                 last_flag('i', is_invalid),
                 with_value('P', [&](const std::string& text) { pattern = parse_pattern(text); }),
                 flag('q', report.quiet),
                 flag('v', dump),
             });
  if (is_invalid) return pretend("read", session);
  const Range range = parse_vector(operands, session.console());
  const auto bytes = std::make_shared<std::vector<std::byte>>(range.length_bytes, kUnread);
  start(
      session, "readv failed",
      [&disk = session.disk(), range, bytes] { disk.read(range.offset, *bytes); },
      [=](Clock::duration time) {
        std::string text;
        if (pattern) text += verify(*bytes, range.offset, {*pattern, 0, range.length_bytes});
        if (dump && !report.quiet) text += hex_dump(*bytes, range.offset);
        return text + transfer_text({"read", range.offset, range.length_bytes, time}, report);
      });
  return true;
}

struct AioWriteOptions {
  bool durable = false;
  bool is_invalid = false;
  bool may_unmap = false;
  bool zeroes = false;
  std::byte pattern = kDefaultPattern;
  ReportOptions report = {};
};

/// "off len": zeroes are not limited to what one buffer holds.
Range parse_zero_range(const Words& operands, Console& console) {
  if (operands.size() != 2) throw Complaint("-z supports only a single length parameter");
  return {parse_number(operands[0], console), parse_number(operands[1], console)};
}

bool run_aio_write(const Words& words, Session& session) {
  AioWriteOptions options;
  const Words operands = apply_options(
      words,
      {
          flag('C', options.report.machine_readable),
          flag('f', options.durable),
          last_flag('i', options.is_invalid),
          with_value('P', [&](const std::string& text) { options.pattern = parse_pattern(text); }),
          flag('q', options.report.quiet),
          flag('u', options.may_unmap),
          flag('z', options.zeroes),
      });
  if (options.is_invalid) return pretend("write", session);
  if (operands.size() < 2) throw WrongUsage();
  if (options.may_unmap && !options.zeroes) throw Complaint("-u requires -z to be specified");

  const Range range = options.zeroes ? parse_zero_range(operands, session.console())
                                     : parse_vector(operands, session.console());
  const auto tell = [range, report = options.report](Clock::duration time) {
    return transfer_text({"wrote", range.offset, range.length_bytes, time}, report);
  };
  Disk& disk = session.disk();
  if (options.zeroes) {
    const ZeroRequest request{.offset = range.offset,
                              .length_bytes = range.length_bytes,
                              .may_unmap = options.may_unmap,
                              .durable = options.durable};
    start(
        session, "aio_write failed", [&disk, request] { disk.write_zeroes(request); }, tell);
  } else {
    const auto data = std::make_shared<std::vector<std::byte>>(range.length_bytes, options.pattern);
    start(
        session, "aio_write failed",
        [&disk, range, data, durable = options.durable] {
          disk.write(range.offset, *data, durable);
        },
        tell);
  }
  return true;
}

bool run_aio_flush(const Words& /*words*/, Session& session) {
  session.finish_requests();
  return true;
}

}  // namespace

constexpr Command kAioReadCommand{
    .name = "aio_read",
    .arguments = "[-Ciqv] [-P pattern] off len [len..]",
    .summary = "asynchronously reads a number of bytes",
    .help = R"(
 Begins to read from OFF on into several buffers and goes on with the next command. What comes
 of it is told when it has ended; the command has not failed, whatever that is.

 Example:
 'aio_read -v 512 1k 1k' shows the two kilobytes that start at byte 512.

 -C         tells the result as numbers with commas between them
 -i         reads nothing, but counts as a request that made no sense
 -P PATTERN tells if what was read is not this byte all over
 -v         shows the bytes
 -q         says nothing but errors

)",
    .arguments_min = 2,
    .needs_image = true,
    .run = run_aio_read,
};

constexpr Command kAioWriteCommand{
    .name = "aio_write",
    .arguments = "[-Cfiquz] [-P pattern] off len [len..]",
    .summary = "asynchronously writes a number of bytes",
    .help = R"(
 Begins to write from OFF on out of several buffers and goes on with the next command. What comes
 of it is told when it has ended; the command has not failed, whatever that is.

 Example:
 'aio_write 512 1k 1k' writes two kilobytes from byte 512 on.

 -C         tells the result as numbers with commas between them
 -f         has not ended before what was written is durable
 -i         writes nothing, but counts as a request that made no sense
 -P PATTERN writes this byte instead of 0xcd
 -z         makes the range, which has one LEN, read as zeroes
 -u         with -z: its space may be given back
 -q         says nothing but errors

)",
    .arguments_min = 2,
    .needs_image = true,
    .changes_image = true,
    .run = run_aio_write,
};

constexpr Command kAioFlushCommand{
    .name = "aio_flush",
    .summary = "completes all outstanding aio requests",
    .arguments_max = 0,
    .needs_image = true,
    .run = run_aio_flush,
};

}  // namespace qcowkit::cli::io
