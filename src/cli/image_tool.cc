// The image tool: finds the command and runs it.
#include <algorithm>
#include <array>
#include <new>
#include <string>
#include <string_view>

#include "cli/command.h"
#include "cli/failure.h"
#include "cli/help.h"
#include "cli/in_order.h"
#include "cli/program.h"
#include "cli/trace.h"
#include "cli/untrusted.h"
#include "qcowkit/error.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kCommands = {
    &kAmendCommand,   &kBenchCommand,   &kBitmapCommand,   &kCheckCommand,   &kCommitCommand,
    &kCompareCommand, &kConvertCommand, &kCreateCommand,   &kDdCommand,      &kDrawCommand,
    &kInfoCommand,    &kIoCommand,      &kMapCommand,      &kMeasureCommand, &kNbdCommand,
    &kRebaseCommand,  &kResizeCommand,  &kSnapshotCommand,
};

constexpr std::array kToolOptions = {
    OptionSpec{'h', "help", "", ""},
    OptionSpec{'V', "version", "", ""},
    OptionSpec{'T', "trace", "PATTERN", ""},
    OptionSpec{'\0', "untrusted", "", ""},
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
  const auto exit_code_of = [&](const Failure& failure) {
    return failure.exit_code() == Failure::kCommandsOwn ? error_exit_code : failure.exit_code();
  };
  try {
    int exit_code = 0;
    try {
      exit_code = work();
    } catch (const HelpText& list) {
      console.write(list.text());
    }
    console.finish();
    return exit_code;
  } catch (const UsageError& e) {
    report(console, e);
    console.write_error(fmt::format("Try '{}' for more information\n", help));
    return exit_code_of(e);
  } catch (const Failure& e) {
    report(console, e);
    return exit_code_of(e);
  } catch (const std::bad_alloc&) {
    console.error("Out of memory");
  } catch (const std::exception& e) {
    console.error(e.what());
  }
  return error_exit_code;
}

/// What usage errors point at: the reference explains all commands in one text.
std::string help_call(const Console& console, const Command& command) {
  if (console.program() == "qemu-img") return "qemu-img --help";
  return fmt::format("{} {} --help", console.program(), command.name);
}

int run_command(const Command& command, Words words, Console& console) {
  const std::string help = help_call(console, command);
  return guarded(console, help, command.error_exit_code, [&] {
    const auto look_at = [&](const Arguments& so_far) {
      if (command.check != nullptr) command.check(so_far);
    };
    const Arguments arguments = parse_in_order(words, command.options, command.last_word, look_at);
    if (arguments.help_wanted()) {
      print_command_help(console, command);
      return 0;
    }
    return command.run(arguments, console);
  });
}

bool is_shortened(std::string_view option, std::string_view word) {
  return word.size() > 2 && option.starts_with(word);
}

/// What comes before a command: whether the tool's help or version is wanted instead of one, what
/// it traces, and whether images are trusted. Returns how many words that takes.
std::size_t parse_tool_options(Words words, Console& console, Arguments& arguments) {
  // A word without a dash, and a dash alone, is the command and ends the tool's own options.
  std::size_t count = 0;
  while (count < words.size() && words[count].size() > 1 && words[count][0] == '-') {
    const bool is_end = words[count] == "--";
    const bool takes_next = words[count] == "-T" || is_shortened("--trace", words[count]);
    count = std::min(words.size(), count + (takes_next ? 2 : 1));
    if (is_end) break;
  }
  arguments = parse_arguments(words.first(count), kToolOptions);
  for (const std::string& trace : arguments.all("--trace")) {
    enable_trace(console.program(), trace);
  }
  if (arguments.has("--untrusted")) distrust_images();
  return count;
}

}  // namespace

void report(Console& console, const Failure& failure) {
  std::string_view message = failure.what();
  if (failure.names_every_line()) {
    for (std::size_t end; (end = message.find('\n')) != message.npos;) {
      console.error(message.substr(0, end));
      message.remove_prefix(end + 1);
    }
  }
  console.error(message);
}

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
    } else if (!words.empty()) {
      command = find_command(words[0]);
      if (command == nullptr) throw UsageError(fmt::format("Command not found: {}", words[0]));
    }
    return 0;
  });
  return command == nullptr ? exit_code : run_command(*command, words.subspan(1), console);
}

}  // namespace qcowkit::cli
