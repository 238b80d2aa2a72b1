// The image tool: finds the command and runs it.
#include <algorithm>
#include <array>
#include <new>
#include <string>
#include <string_view>

#include "cli/command.h"
#include "cli/failure.h"
#include "cli/help.h"
#include "cli/program.h"
#include "cli/trace.h"
#include "qcowkit/error.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kCommands = {
    &kAmendCommand,   &kBitmapCommand, &kCheckCommand,  &kCompareCommand,
    &kConvertCommand, &kCreateCommand, &kInfoCommand,   &kMapCommand,
    &kMeasureCommand, &kRebaseCommand, &kResizeCommand, &kSnapshotCommand,
};

constexpr std::array kToolOptions = {
    OptionSpec{'h', "help", "", ""},
    OptionSpec{'V', "version", "", ""},
    OptionSpec{'T', "trace", "PATTERN", ""},
};

const Command* find_command(std::string_view name) {
  for (const Command* command : kCommands) {
    if (command->name == name) return command;
  }
  return nullptr;
}

/// Runs `work` and turns what it throws into a message and an exit code.
template <typename Work>
int guarded(Console& console, std::string_view help, int error_exit_code, Work work) {
  const auto fail = [&](std::string_view message, int exit_code) {
    console.error(message);
    return exit_code == Failure::kCommandsOwn ? error_exit_code : exit_code;
  };
  try {
    const int exit_code = work();
    console.finish();
    return exit_code;
  } catch (const UsageError& e) {
    const int exit_code = fail(e.what(), e.exit_code());
    console.write_error(fmt::format("Try '{}' for more information\n", help));
    return exit_code;
  } catch (const Failure& e) {
    return fail(e.what(), e.exit_code());
  } catch (const std::bad_alloc&) {
    return fail("Out of memory", Failure::kCommandsOwn);
  } catch (const std::exception& e) {
    return fail(e.what(), Failure::kCommandsOwn);
  }
}

int run_command(const Command& command, Words words, Console& console) {
  const std::string help = fmt::format("{} {} --help", console.program(), command.name);
  return guarded(console, help, command.error_exit_code, [&] {
    const Arguments arguments = parse_arguments(words, command.options, command.last_word);
    if (arguments.help_wanted()) {
      print_command_help(console, command);
      return 0;
    }
    return command.run(arguments, console);
  });
}

/// What comes before a command: whether the tool's help or version is wanted instead of one, and
/// what it traces. Returns how many words that takes.
std::size_t parse_tool_options(Words words, Console& console, Arguments& arguments) {
  // A word without a dash is the command and ends the tool's own options.
  std::size_t count = 0;
  while (count < words.size() && words[count].starts_with('-')) {
    const bool takes_next = words[count] == "-T" || words[count] == "--trace";
    count = std::min(words.size(), count + (takes_next ? 2 : 1));
  }
  arguments = parse_arguments(words.first(count), kToolOptions);
  for (const std::string& trace : arguments.all("--trace")) {
    enable_trace(console.program(), trace);
  }
  return count;
}

}  // namespace

int run_image_tool(Words words, Console& console) {
  const std::string help = fmt::format("{} --help", console.program());
  const Command* command = nullptr;
  const int exit_code = guarded(console, help, 1, [&] {
    if (words.empty()) throw UsageError("Not enough arguments");
    Arguments arguments(kToolOptions);
    words = words.subspan(parse_tool_options(words, console, arguments));
    if (arguments.help_wanted()) {
      print_tool_help(console, kCommands);
    } else if (arguments.has("--version")) {
      print_version(console);
    } else if (words.empty()) {
      throw UsageError("Not enough arguments");
    } else {
      command = find_command(words[0]);
      if (command == nullptr) throw UsageError(fmt::format("Command not found: {}", words[0]));
    }
    return 0;
  });
  return command == nullptr ? exit_code : run_command(*command, words.subspan(1), console);
}

}  // namespace qcowkit::cli
