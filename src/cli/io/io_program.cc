// The I/O program: opens an image and runs commands on it, from its options or its input. It is
// a command of the image tool, and a program of its own when it is called by the reference's name.
#include <fmt/core.h>
#include <getopt.h>

#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"
#include "cli/failure.h"
#include "cli/help.h"
#include "cli/io/command.h"
#include "cli/io/input.h"
#include "cli/io/io_options.h"
#include "cli/objects.h"
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
  const Opening opening = opening_of(arguments);
  for (const std::string& trace : arguments.all("--trace")) enable_trace(console.program(), trace);
  Session session(console, parse_objects(arguments.all("--object")));
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
  return run(arguments, fmt::format("{} io> ", console.program()), console);
}

/// Complains of options that make no sense as the reference does: in getopt's words.
bool are_options_good(cli::Words words, const std::string& program) {
  std::string letters;
  std::vector<option> names;
  for (const OptionSpec& spec : kOptions) {
    const int takes_value = spec.value.empty() ? no_argument : required_argument;
    if (spec.short_name != '\0') letters += spec.short_name;
    if (spec.short_name != '\0' && takes_value == required_argument) letters += ':';
    names.push_back({spec.long_name.data(), takes_value, nullptr, spec.short_name});
  }
  names.push_back({nullptr, 0, nullptr, 0});

  std::vector<std::string> copies = {program};
  copies.insert(copies.end(), words.begin(), words.end());
  std::vector<char*> argv;
  for (std::string& word : copies) argv.push_back(word.data());
  const int argc = static_cast<int>(argv.size());
  argv.push_back(nullptr);
  while (true) {
    switch (::getopt_long(argc, argv.data(), letters.c_str(), names.data(), nullptr)) {
      case '?':
        return false;
      case 'h':
      case 'V':
      case -1:
        return true;
    }
  }
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
    .error_exit_code = 1,
    .run = io::run_as_command,
};

int run_io_program(Words words, Console& console) {
  try {
    if (!io::are_options_good(words, console.program())) {
      io::print_program_help(console);
      console.flush();
      return 1;
    }
    const Arguments arguments = parse_arguments(words, io::kOptions);
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
  } catch (const UsageError&) {
    io::print_program_help(console);
    console.flush();
  } catch (const std::exception& e) {
    console.error(e.what());
  }
  return 1;
}

}  // namespace qcowkit::cli
