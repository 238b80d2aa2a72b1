// The I/O program: opens an image and runs commands on it, from its options or its input. It is
// a command of the image tool, and a program of its own when it is called by the reference's name.
#include <fmt/core.h>

#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"
#include "cli/failure.h"
#include "cli/help.h"
#include "cli/in_order.h"
#include "cli/io/command.h"
#include "cli/io/input.h"
#include "cli/io/io_options.h"
#include "cli/objects.h"
#include "cli/option_error.h"
#include "cli/program.h"
#include "cli/trace.h"

namespace qcowkit::cli {

namespace io {

namespace {

bool run_lines(const std::vector<std::string>& lines, Session& session) {
  bool all_succeeded = true;
  for (const std::string& line : lines) {
    if (session.is_quitting()) break;
    if (!run_line(line, session)) all_succeeded = false;
  }
  return all_succeeded;
}

bool run_input(std::string_view prompt, Session& session) {
  Console& console = session.console();
  const auto print_finished = [&] {
    session.print_finished();
    console.flush();
  };
  bool all_succeeded = true;
  InputLines input;
  while (!session.is_quitting()) {
    console.write(prompt);
    console.flush();
    const auto line = input.next(session.background().readable_fd(), print_finished);
    if (!line) break;
    if (!run_line(*line, session)) all_succeeded = false;
  }
  return all_succeeded;
}

/// `prompt` asks for commands where the command line has none.
int run(const Arguments& arguments, std::string_view prompt, Console& console) {
  NodeObjects objects = parse_objects(arguments.all("--object"));
  const Opening opening = opening_of(arguments);
  Session session(console, std::move(objects), arguments.has("--image-opts"));
  if (opening.name || opening.options) {
    session.set_opened(open_disk(opening, session.objects(), console));
  }
  const std::vector<std::string>& lines = arguments.all("--cmd");
  const bool all_succeeded = lines.empty() ? run_input(prompt, session) : run_lines(lines, session);
  session.close();
  return all_succeeded ? 0 : 1;
}

int run_as_command(const Arguments& arguments, Console& console) {
  if (arguments.has("--version")) {
    print_version(console);
    return 0;
  }
  for (const std::string& trace : arguments.all("--trace")) enable_trace(console.program(), trace);
  return run(arguments, fmt::format("{} io> ", console.program()), console);
}

void print_program_help(Console& console) {
  print_command_help(console, kIoCommand, console.program());
}

}  // namespace

}  // namespace io

constexpr Command kIoCommand{
    .name = "io",
    .arguments = "[FILENAME]",
    .summary = "read and write parts of a disk, for tests",
    .description =
        "Opens the image, if one is named, and runs commands on it: those of -c, or those that it "
        "reads from standard input, one a line. The command \"help\" lists them, \"help write\" "
        "explains one. Commands read and write ranges of the disk with patterns of bytes, show "
        "what is there, discard, flush, resize, open other images.\n",
    .options = io::kOptions,
    .details =
        "Exit codes: 0: every command succeeded; 1: one has failed.\n\n"
        "Examples:\n"
        "  qcow io -c 'write -P 0x55 1M 64k' -c 'read -P 0x55 1M 64k' disk.qcow2\n"
        "  qcow io -r -c 'read -v 0 512' disk.qcow2\n"
        "  qcow io -c map -c info disk.qcow2\n",
    .check = io::check_options,
    .error_exit_code = 1,
    .run = io::run_as_command,
};

int run_io_program(Words words, Console& console) {
  try {
    const auto look_at = [&](const Arguments& so_far) {
      const Arguments::Given& option = so_far.sequence().back();
      if (option.name == "trace") enable_trace(console.program(), option.value);
      io::check_options(so_far);
    };
    const Arguments arguments = parse_in_order(words, io::kOptions, LastWord::anything, look_at);
    int exit_code = 0;
    if (arguments.help_wanted()) {
      io::print_program_help(console);
    } else if (arguments.has("--version")) {
      print_version(console);
    } else {
      exit_code = io::run(arguments, fmt::format("{}> ", console.program()), console);
    }
    console.finish();
    return exit_code;
  } catch (const HelpText& list) {
    console.write(list.text());
    console.flush();
    return 0;
  } catch (const OptionError& e) {
    console.error(e.systems_words());
    io::print_program_help(console);
    console.flush();
  } catch (const UsageError&) {
    io::print_program_help(console);
    console.flush();
  } catch (const std::exception& e) {
    console.error(e.what());
  }
  return 1;
}

}  // namespace qcowkit::cli
