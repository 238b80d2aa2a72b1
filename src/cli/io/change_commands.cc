// discard, truncate, flush: other changes of the disk.
#include <fmt/core.h>

#include "cli/create_arguments.h"
#include "cli/failure.h"
#include "cli/io/command.h"
#include "cli/io/command_options.h"
#include "cli/io/complaint.h"
#include "cli/io/disk.h"
#include "cli/io/numbers.h"
#include "cli/io/report.h"
#include "cli/io/request_arguments.h"
#include "cli/open_arguments.h"

namespace qcowkit::cli::io {

namespace {

bool run_discard(const Words& words, Session& session) {
  Console& console = session.console();
  ReportOptions report;
  const Words operands =
      apply_options(words, {flag('C', report.machine_readable), flag('q', report.quiet)});
  if (operands.size() != 2) throw WrongUsage();
  const std::uint64_t offset = parse_number(operands[0], console);
  const std::uint64_t length_bytes = parse_number(operands[1], console);
  require_request_size(length_bytes, operands[1], "");

  const Clock::time_point begin = Clock::now();
  try {
    session.disk().discard(offset, length_bytes);
  } catch (const std::exception& e) {
    throw Complaint(fmt::format("discard failed: {}", error_name(e)));
  }
  const Transfer transfer{"discard", offset, length_bytes, Clock::now() - begin};
  session.print_finished();
  console.write(transfer_text(transfer, report));
  return true;
}

void resize(Image& image, std::uint64_t size_bytes, Preallocation preallocation) {
  try {
    if (image.cluster_size() != 0 && size_bytes % kSectorBytes != 0) {
      throw Failure(fmt::format("The new size must be a multiple of {}", kSectorBytes));
    }
    image.resize(size_bytes, {.preallocation = preallocation, .may_shrink = true});
  } catch (const Error& e) {
    if (e.code() == make_error_code(Errc::unsupported) && !image.info().qcow2) {
      throw Failure("Image format driver does not support resize");
    }
    throw Failure(without_name(e.what(), image.filename()));
  }
}

bool run_truncate(const Words& words, Session& session) {
  Preallocation preallocation = Preallocation::off;
  const auto set_mode = [&](const std::string& name) {
    const auto mode = parse_preallocation(name);
    if (!mode) throw Failure(fmt::format("Invalid preallocation mode '{}'", name));
    preallocation = *mode;
  };
  const Words operands = apply_options(words, {with_value('m', set_mode)});
  if (operands.empty()) throw WrongUsage();
  // A message about it names the first word behind the command, whatever that is.
  const std::uint64_t size_bytes = parse_number(operands[0], session.console(), words[1]);
  session.finish_requests();
  resize(session.image(), size_bytes, preallocation);
  return true;
}

bool run_flush(const Words& /*words*/, Session& session) {
  session.image().flush();
  session.print_finished();
  return true;
}

}  // namespace

constexpr Command kDiscardCommand{
    .name = "discard",
    .alias = "d",
    .arguments = "[-Cq] off len",
    .summary = "discards a number of bytes at a specified offset",
    .help = R"(
 Gives the space of LEN bytes from OFF on back, in whole clusters.

 Example:
 'discard 64k 128k' gives the 128 kilobytes back that start at byte 65536.

 -C         tells the result as numbers with commas between them
 -q         says nothing but errors

)",
    .arguments_min = 2,
    .needs_image = true,
    .changes_image = true,
    .run = run_discard,
};

constexpr Command kTruncateCommand{
    .name = "truncate",
    .alias = "t",
    .arguments = "[-m prealloc_mode] off",
    .summary = "truncates the current file at the given offset",
    .arguments_min = 1,
    .arguments_max = 3,
    .needs_image = true,
    .changes_image = true,
    .run = run_truncate,
};

constexpr Command kFlushCommand{
    .name = "flush",
    .alias = "f",
    .summary = "flush all in-core file state to disk",
    .arguments_max = 0,
    .needs_image = true,
    .run = run_flush,
};

}  // namespace qcowkit::cli::io
