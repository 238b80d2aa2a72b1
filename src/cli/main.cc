// The tool `qcow`: finds the command and runs it.
#include <array>
#include <csignal>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"
#include "cli/failure.h"
#include "cli/help.h"
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

int run_command(const Command& command, std::span<const std::string_view> words, Console& console) {
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

/// The options before a command; a word without a dash is the command and ends them.
int run_tool(std::span<const std::string_view> words, Console& console) {
  const std::string help = fmt::format("{} --help", console.program());
  if (!words.empty()) {
    if (const Command* command = find_command(words[0])) {
      return run_command(*command, words.subspan(1), console);
    }
  }
  return guarded(console, help, 1, [&] {
    if (words.empty()) throw UsageError("Not enough arguments");
    if (!words[0].starts_with('-')) {
      throw UsageError(fmt::format("Command not found: {}", words[0]));
    }
    const Arguments arguments = parse_arguments(words.first(1), kToolOptions);
    if (arguments.help_wanted()) {
      print_tool_help(console, kCommands);
    } else if (arguments.has("--version")) {
      console.print("{} version {}\n", console.program(), QCOWKIT_VERSION);
    } else {
      throw UsageError("Not enough arguments");
    }
    return 0;
  });
}

}  // namespace

}  // namespace qcowkit::cli

int main(int argc, char** argv) {
  // A write beyond the limit on file sizes is to fail with an error, not to end the process.
  std::signal(SIGXFSZ, SIG_IGN);
  const std::vector<std::string_view> words(argv, argv + argc);
  std::string_view program = words.empty() ? "qcow" : words[0];
  if (const std::size_t slash = program.rfind('/'); slash != program.npos) {
    program.remove_prefix(slash + 1);
  }
  qcowkit::cli::Console console{std::string(program)};
  return qcowkit::cli::run_tool(std::span(words).subspan(words.empty() ? 0 : 1), console);
}
