// open, close, reopen: which image the other commands work on, and how it is open.
#include <fmt/core.h>

#include "cli/failure.h"
#include "cli/io/command.h"
#include "cli/io/complaint.h"
#include "cli/io/option_reader.h"
#include "cli/io/reopening.h"

namespace qcowkit::cli::io {

namespace {

void append_list(std::optional<std::string>& lists, const std::string& list) {
  lists = lists ? *lists + ',' + list : list;
}

bool run_open(const Words& words, Session& session) {
  Opening opening;
  OptionReader options(words, "Cd:i:kno:rst:U");
  while (const auto letter = options.next()) {
    switch (*letter) {
      case 'C':
        opening.copy_on_read = true;
        break;
      case 'd':
        opening.set_discard(options.value());
        break;
      case 'i':
        opening.set_aio(options.value());
        break;
      case 'k':
        opening.native_aio = true;
        break;
      case 'n':
        opening.cache = CacheMode::none;
        break;
      case 'o':
        append_list(opening.options, options.value());
        break;
      case 'r':
        opening.read_only = true;
        break;
      case 's':
        opening.snapshot = true;
        break;
      case 't':
        opening.set_cache(options.value());
        break;
      case 'U':
        opening.force_share = true;
        break;
    }
  }
  const Words& operands = options.operands();
  if (operands.size() > 1) throw WrongUsage();
  if (!operands.empty()) opening.name = operands[0];
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
  OptionReader options(words, "c:o:rw");
  while (const auto letter = options.next()) {
    switch (*letter) {
      case 'c':
        changes.cache = parse_cache_mode(options.value(), "cache");
        break;
      case 'o':
        append_list(changes.options, options.value());
        break;
      case 'r':
      case 'w':
        if (changes.read_only) throw Failure("Only one -r/-w option may be given");
        changes.read_only = *letter == 'r';
        break;
    }
  }
  if (!options.operands().empty()) throw WrongUsage();
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
