// qcow measure: tells how large a new image would be.
#include <fmt/core.h>

#include <array>
#include <memory>

#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/create_arguments.h"
#include "cli/failure.h"
#include "cli/json_text.h"
#include "cli/key_values.h"
#include "cli/open_arguments.h"
#include "cli/secrets.h"
#include "cli/size_arguments.h"
#include "cli/snapshot_source.h"
#include "qcowkit/jobs.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kOptions = {
    OptionSpec{'s', "size", "SIZE", "measure an empty image with a disk of this size"},
    OptionSpec{'f', "format", "FMT", "the source's format; found out if not given"},
    OptionSpec{'O', "target-format", "FMT", "format of the new image, raw (default), qcow2 or luks",
               true},
    kCreateOptionsOption,
    OptionSpec{'l', "snapshot", "SNAPSHOT",
               "measure one of the source's snapshots, by its id or its name, or with "
               "snapshot.id=ID,snapshot.name=NAME",
               true},
    kOutputOption,
    kForceShareOption,
    kObjectOption,
    kImageOptsOption,
    kHelpOption,
};

/// What the options say about which image is to be measured makes sense.
void check_arguments(const Arguments& arguments) {
  const std::size_t names = arguments.positional().size();
  const bool has_size = arguments.has("--size");
  if (names > 1) throw Failure("At most one filename argument is allowed.");
  if (names == 0 && (arguments.has("--image-opts") || arguments.has("-f") || arguments.has("-l"))) {
    throw Failure("--image-opts, -f, and -l require a filename argument.");
  }
  if (names == 0 && !has_size) throw Failure("Either --size N or one filename must be specified.");
  if (names == 1 && has_size) throw Failure("--size N cannot be used together with a filename.");
}

std::unique_ptr<Image> open_measured(const ImageName& name, const Arguments& arguments,
                                     const Secrets& secrets, Console& console) {
  OpenOptions options;
  if (arguments.has("--force-share")) options.locking = Locking::force_share;
  return open_source(name, secrets, options, arguments.value("-l"), console);
}

CreateArguments parse_target(const std::string& format, const std::string& list, Console& console) {
  if (!is_known_format(format)) throw Failure(fmt::format("Unknown file format '{}'", format));
  try {
    return {format, list};
  } catch (const Failure& e) {
    console.error(e.what());
    throw Failure(fmt::format("Invalid options for file format '{}'", format));
  }
}

/// The new image. Of some options, the reference speaks otherwise where it measures.
CreateOptions target_options(const CreateArguments& wanted, const Secrets& secrets) {
  if (wanted.format() == "raw") return {.format = "raw"};  // whatever else is said of it
  if (wanted.get("compression_level")) {
    throw Failure("Parameter 'compression_level' has a meaning for convert -c only");
  }
  const std::optional<std::string> version = wanted.get("compat");
  if (version && *version != "0.10" && *version != "1.1" && *version != "v2" && *version != "v3") {
    throw Failure(fmt::format("Invalid compatibility level: '{}'", *version));
  }
  const std::optional<std::string> mode = wanted.get("preallocation");
  if (mode && !parse_preallocation(*mode)) {
    throw Failure(fmt::format("invalid parameter value: {}", *mode));
  }
  return wanted.to_create_options(secrets, NewImage::measured);
}

void print_measurement(const Measurement& result, bool json, Console& console) {
  if (json) {
    Json object = Json::object();
    if (result.bitmaps_bytes) object["bitmaps"] = *result.bitmaps_bytes;
    object["required"] = result.required_bytes;
    object["fully-allocated"] = result.fully_allocated_bytes;
    console.write(json_text(object));
    return;
  }
  console.print("required size: {}\nfully allocated size: {}\n", result.required_bytes,
                result.fully_allocated_bytes);
  if (result.bitmaps_bytes) console.print("bitmaps size: {}\n", *result.bitmaps_bytes);
}

std::optional<std::uint64_t> parse_size_option(const Arguments& arguments) {
  const std::optional<std::string> text = arguments.value("--size");
  if (!text) return std::nullopt;
  return size_argument(*text, "image size");
}

void check(const Arguments& so_far) {
  join_option_lists(so_far.all("-o"));
  parse_size_option(so_far);
  wants_json(so_far);
  if (const auto snapshot = so_far.value("-l")) check_snapshot(*snapshot);
}

int run(const Arguments& arguments, Console& console) {
  const std::string format = arguments.value("-O").value_or("raw");
  const std::string list = join_option_lists(arguments.all("-o"));
  const Secrets secrets = parse_secrets(arguments.all("--object"));
  std::optional<std::uint64_t> size = parse_size_option(arguments);
  const bool json = wants_json(arguments);
  if (asks_for_help(list)) {
    print_create_options(console, format, !arguments.positional().empty());
    return 0;
  }
  check_arguments(arguments);

  ImageName name;
  std::unique_ptr<Image> source;
  if (!size) {
    name = parse_image_name(arguments.positional()[0], arguments.has("--image-opts"),
                            arguments.value("-f"), &console);
    source = open_measured(name, arguments, secrets, console);
    size = source->virtual_size();
  }
  CreateOptions target = target_options(parse_target(format, list, console), secrets);
  target.size_bytes = size;
  const Measurement result = measure(target, source.get());
  if (source) close_image(*source, name);
  print_measurement(result, json, console);
  return 0;
}

}  // namespace

constexpr Command kMeasureCommand{
    .name = "measure",
    .arguments = "FILENAME | --size=SIZE",
    .summary = "tell how large a new image would be",
    .description =
        "Tells the file size of an image that does not exist yet: of what convert would make of "
        "FILENAME, or of what create would make with a disk of SIZE bytes. The fully allocated "
        "size is what the file grows to when every byte of the disk has been written.\n",
    .options = kOptions,
    .details =
        "Examples:\n"
        "  qcow measure -O qcow2 disk.raw\n"
        "  qcow measure -O qcow2 -o cluster_size=2M --size=1T --output=json\n",
    .check = check,
    .error_exit_code = 1,
    .run = run,
};

}  // namespace qcowkit::cli
