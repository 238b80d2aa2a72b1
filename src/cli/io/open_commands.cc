// open, close, reopen: which image the other commands work on, and how it is open.
#include <fmt/core.h>

#include "cli/failure.h"
#include "cli/io/command.h"
#include "cli/io/command_options.h"
#include "cli/io/complaint.h"
#include "cli/io/reopening.h"

namespace qcowkit::cli::io {

namespace {

void append_list(std::optional<std::string>& lists, const std::string& list) {
  lists = lists ? *lists + ',' + list : list;
}

bool run_open(const Words& words, Session& session) {
  Opening opening;
  const Words operands = apply_options(
      words,
      {
          flag('C', opening.copy_on_read),
          with_value('d', [&](const std::string& mode) { opening.set_discard(mode); }),
          with_value('i', [&](const std::string& mode) { opening.set_aio(mode); }),
          flag('k', opening.native_aio),
          without_value('n', [&] { opening.cache = CacheMode::none; }),
          with_value('o',
                     [&](const std::string& list) {
                       if (session.names_are_lists()) {
                         throw Complaint("--image-opts and 'open -o' are mutually exclusive");
                       }
                       append_list(opening.options, list);
                     }),
          flag('r', opening.read_only),
          flag('s', opening.snapshot),
          with_value('t', [&](const std::string& mode) { opening.set_cache(mode); }),
          flag('U', opening.force_share),
      });
  if (operands.size() > 1) throw WrongUsage();
  if (!operands.empty()) (session.names_are_lists() ? opening.options : opening.name) = operands[0];
  if (session.has_image()) throw Failure("file open already, try 'help close'");
  session.set_opened(open_disk(opening, session.objects(), session.console()));
  return true;
}

bool run_close(const Words& /*words*/, Session& session) {
  session.close();
  return true;
}

bool run_reopen(const Words& words, Session& session) {
  Reopening changes;
  const auto set_read_only = [&](bool read_only) {
    if (changes.read_only) throw Failure("Only one -r/-w option may be given");
    changes.read_only = read_only;
  };
  const Words operands = apply_options(
      words,
      {
          with_value(
              'c',
              [&](const std::string& mode) { changes.cache = parse_cache_mode(mode, "cache"); }),
          with_value('o', [&](const std::string& list) { append_list(changes.options, list); }),
          without_value('r', [&] { set_read_only(true); }),
          without_value('w', [&] { set_read_only(false); }),
      });
  if (!operands.empty()) throw WrongUsage();
  session.finish_requests();
  reopen(session.opened(), changes, session.console());
  return true;
}

}  // namespace

constexpr Command kOpenCommand{
    .name = "open",
    .alias = "o",
    .arguments = "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
    .summary = "open the file specified by path",
    .help = R"(
 Opens the image that the commands that follow work on, for reading and writing.

 Example:
 'open -n -o driver=raw disk.img' opens disk.img as raw, past the host's cache.

 -r         for reading only
 -s         keeps what is written in a temporary file, which is lost in the end
 -C         keeps in the image what is read from its backing file
 -n         the same as -t none
 -U         reads although another process may be writing to the image
 -k         the same as -i native
 -i MODE    how the host is asked: threads, native or io_uring (all are threads here)
 -t CACHE   cache mode: writeback, none, writethrough, directsync or unsafe
 -d DISCARD what becomes of discards: unmap or ignore
 -o OPTIONS options of the drivers, as in driver=qcow2,lazy-refcounts=on

)",
    .arguments_min = 1,
    .run = run_open,
};

constexpr Command kCloseCommand{
    .name = "close",
    .alias = "c",
    .summary = "close the current open file",
    .arguments_max = 0,
    .needs_image = true,
    .run = run_close,
};

constexpr Command kReopenCommand{
    .name = "reopen",
    .arguments = "[(-r|-w)] [-c cache] [-o options]",
    .summary = "reopens an image with new options",
    .help = R"(
 Changes how the image is open. What is not mentioned stays as it is.

 Example:
 'reopen -o lazy-refcounts=on' lets refcounts lag behind from now on.

 -r         for reading only
 -w         for reading and writing
 -c CACHE   cache mode: writeback, none, writethrough, directsync or unsafe
 -o OPTIONS options of the drivers, as with open

)",
    .needs_image = true,
    .run = run_reopen,
};

}  // namespace qcowkit::cli::io
