// qcow create: makes a new image.
#include <fmt/core.h>

#include <array>
#include <limits>
#include <memory>

#include "base/sector.h"
#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/create_arguments.h"
#include "cli/failure.h"
#include "cli/key_values.h"
#include "cli/open_arguments.h"
#include "cli/secrets.h"
#include "cli/size_arguments.h"
#include "cli/untrusted.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kOptions = {
    OptionSpec{'f', "format", "FMT", "format of the new image: raw (default), qcow2, qcow or luks",
               true},
    OptionSpec{'b', "backing", "BACKING_FILE",
               "record only what differs from this image; a relative name is looked up from the "
               "new image's directory",
               true},
    OptionSpec{'F', "backing-format", "BACKING_FMT", "the backing file's format, required with -b",
               true},
    OptionSpec{'B', "", "BACKING_FMT", "another name of -F", true},
    OptionSpec{'u', "backing-unsafe", "",
               "do not look at the backing file, which need not exist; needs SIZE", true},
    kCreateOptionsOption,
    kQuietOption,
    kObjectOption,
    kHelpOption,
};

struct BackingFile {
  std::uint64_t size_bytes;
  std::string format;
};

/// Opens the backing file, which shows that it is usable. `format` may be empty.
BackingFile look_at_backing_file(const std::string& path, const std::string& format) {
  try {
    const NodeOptions node = NodeOptions::from_name(path, format);
    OpenOptions options;
    options.references = allowed_references();
    const std::unique_ptr<Image> image = Image::open(node, options);
    BackingFile backing{image->virtual_size(), image->format()};
    image->close();
    return backing;
  } catch (const std::exception& e) {
    throw Failure(fmt::format("{}\nCould not open backing image.", e.what()));
  }
}

/// Checks the backing file that was asked for and takes the size from it where none is given.
void settle_backing_file(CreateArguments& wanted, const std::string& filename, bool open_backing) {
  const std::optional<std::string> backing_file = wanted.get("backing_file");
  if (!backing_file) return;
  if (backing_file->empty()) throw Failure("Expected backing file name, got empty string");
  const std::string path = resolve_reference(filename, *backing_file);
  if (*backing_file == filename ||
      (!lies_on_server(filename) && is_same_file(path, local_path(filename)))) {
    throw Failure("Error: Trying to create an image with the same filename as the backing file");
  }
  const std::optional<std::string> format = wanted.get("backing_fmt");
  constexpr std::string_view kFormatMissing = "Backing file specified without backing format";
  if (!open_backing) {
    if (!format) throw Failure(std::string(kFormatMissing));
    return;
  }
  if (format && !is_known_format(*format)) {
    throw Failure(fmt::format("Unknown driver '{}'\nCould not open backing image.", *format));
  }
  const BackingFile backing = look_at_backing_file(path, format.value_or(""));
  if (!format) {
    throw Failure(fmt::format("{}\nDetected format of {}.", kFormatMissing, backing.format));
  }
  if (!wanted.size_bytes()) wanted.set("size", std::to_string(backing.size_bytes));
}

/// Puts what the command's own options say into the list of -o options.
void merge_command_options(CreateArguments& wanted, const Arguments& arguments,
                           std::optional<std::uint64_t> size_bytes) {
  if (size_bytes) {
    if (wanted.size_bytes()) throw Failure("The image size must be specified only once");
    wanted.set("size", std::to_string(*size_bytes));
  }
  if (const auto backing_file = arguments.value("-b")) {
    if (!wanted.takes("backing_file")) {
      throw Failure(
          fmt::format("Backing file not supported for file format '{}'", wanted.format()));
    }
    wanted.set("backing_file", *backing_file);
  }
  for (const char* option : {"-F", "-B"}) {
    const std::optional<std::string> backing_format = arguments.value(option);
    if (!backing_format) continue;
    if (!wanted.takes("backing_fmt")) {
      throw Failure(
          fmt::format("Backing file format not supported for file format '{}'", wanted.format()));
    }
    wanted.set("backing_fmt", *backing_format);
  }
  if (wanted.get("compression_level")) {
    throw Failure("Parameter 'compression_level' has a meaning for convert -c only");
  }
}

void create(const Arguments& arguments, const std::string& filename, const std::string& list,
            std::optional<std::uint64_t> size_bytes, const Secrets& secrets, Console& console) {
  const std::string format = arguments.value("-f").value_or("raw");
  if (is_known_format(format)) require_creatable(filename);
  CreateArguments wanted(format, list);
  merge_command_options(wanted, arguments, size_bytes);
  settle_backing_file(wanted, filename, !arguments.has("-u"));
  if (!wanted.size_bytes()) throw Failure("Image creation needs a size parameter");

  if (!arguments.has("-q")) {
    console.print("Formatting '{}', {}\n", filename, wanted.summary());
    console.flush();
  }
  CreateOptions options = wanted.to_create_options(secrets);
  options.size_bytes = (*options.size_bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
  if (*options.size_bytes > std::numeric_limits<std::int64_t>::max()) {
    throw Failure("Could not resize file: Invalid argument");
  }
  options.open_backing = false;  // it has been looked at, or is not to be
  try {
    wanted.create_image(filename, options);
  } catch (const Error& e) {
    if (wanted.format() != "raw" || e.code() != std::errc::file_too_large) throw;
    throw Failure("The image size is too large for file format 'raw'");
  }
}

void check(const Arguments& so_far) { join_option_lists(so_far.all("-o")); }

int run(const Arguments& arguments, Console& console) {
  const std::vector<std::string>& names = arguments.positional();
  const std::string list = join_option_lists(arguments.all("-o"));
  const Secrets secrets = parse_secrets(arguments.all("--object"));
  if (asks_for_help(list)) {
    print_create_options(console, arguments.value("-f").value_or("raw"), !names.empty());
    return 0;
  }
  if (names.empty()) throw UsageError("Expecting image file name");
  std::optional<std::uint64_t> size_bytes;
  if (names.size() > 1) size_bytes = size_argument(names[1], "image size");
  if (names.size() > 2) throw UsageError(fmt::format("Unexpected argument: {}", names[2]));

  try {
    create(arguments, names[0], list, size_bytes, secrets, console);
  } catch (const std::exception& e) {
    throw Failure(fmt::format("{}: {}", names[0], without_name(e.what(), names[0])));
  }
  return 0;
}

}  // namespace

constexpr Command kCreateCommand{
    .name = "create",
    .arguments = "FILENAME [SIZE]",
    .summary = "make a new image",
    .description =
        "Makes the image FILENAME with a virtual disk of SIZE bytes, all of which read as zeroes. "
        "An existing file is replaced.\n"
        "With a backing file the new image takes its size from it unless SIZE is given, and reads "
        "as the backing file until it is written to. The backing file is never changed.\n",
    .options = kOptions,
    .details =
        "Examples:\n"
        "  qcow create -f qcow2 disk.qcow2 20G\n"
        "  qcow create -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2\n"
        "  qcow create -f qcow2 -o cluster_size=128k,preallocation=metadata disk.qcow2 1T\n",
    .check = check,
    .error_exit_code = 1,
    .run = run,
};

}  // namespace qcowkit::cli
