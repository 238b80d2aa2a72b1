// qcow resize: changes the size of an image's disk.
#include <fmt/core.h>

#include <array>
#include <limits>
#include <memory>

#include "base/sector.h"
#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/create_arguments.h"
#include "cli/failure.h"
#include "cli/open_arguments.h"
#include "cli/secrets.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kOptions = {
    OptionSpec{'f', "format", "FMT", "the image's format, found out if not given", true},
    OptionSpec{'\0', "shrink", "", "allow a smaller size; what lies behind the new end is lost"},
    OptionSpec{'\0', "preallocation", "MODE",
               "how what is added is allocated: off (default), metadata, falloc or full"},
    kQuietOption,
    kObjectOption,
    kImageOptsOption,
    kHelpOption,
};

/// SIZE, +SIZE or -SIZE.
struct Change {
  char sign;  ///< '+', '-' or '\0'
  std::uint64_t bytes;

  /// The size that a disk of `size_bytes` then has. Throws `Failure` if that is none.
  std::uint64_t apply_to(std::uint64_t size_bytes) const {
    constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
    std::uint64_t result = bytes;
    if (sign == '+') result = bytes > kMax - size_bytes ? 0 : size_bytes + bytes;
    if (sign == '-') result = bytes > size_bytes ? 0 : size_bytes - bytes;
    if (result == 0 || result > kMax) throw Failure("New image size must be positive");
    return result;
  }
};

Change parse_change(const std::string& text) {
  const char sign = text.starts_with('+') || text.starts_with('-') ? text[0] : '\0';
  return {sign, parse_size_parameter("size", text.substr(sign == '\0' ? 0 : 1))};
}

Preallocation parse_mode(const std::string& text) {
  const std::optional<Preallocation> mode = parse_preallocation(text);
  if (!mode) throw Failure(fmt::format("Invalid preallocation mode '{}'", text));
  return *mode;
}

void require_shrink_option(const Arguments& arguments, Console& console) {
  if (arguments.has("--shrink")) return;
  console.error("Use the --shrink option to perform a shrink operation.");
  throw Failure(
      "warning: Shrinking an image will delete all data beyond the shrunken image's end. Before "
      "performing such an operation, make sure there is no important data there.");
}

/// A size that only bare files can have is not rounded but refused; so is one that no file can
/// have.
void require_possible_size(const Image& image, std::uint64_t size_bytes) {
  constexpr std::uint64_t kBytesMax = (std::uint64_t{1} << 63) - (std::uint64_t{1} << 30);
  if (image.cluster_size() != 0 && size_bytes % kSectorBytes != 0) {
    throw Failure("The new size must be a multiple of 512");
  }
  if (image.cluster_size() == 0 && size_bytes > kBytesMax) {
    throw Failure(fmt::format("offset({}) exceeds maximum({})", size_bytes, kBytesMax));
  }
}

void resize_image(Image& image, std::uint64_t size_bytes, const ResizeOptions& options) {
  try {
    image.resize(size_bytes, options);
  } catch (const Error& e) {
    // Only qcow2 images have reasons of their own.
    if (e.code() == make_error_code(Errc::unsupported) && !image.info().qcow2) {
      throw Failure("Image format driver does not support resize");
    }
    throw Failure(without_name(e.what(), image.filename()));
  }
}

Preallocation parse_preallocation_option(const Arguments& arguments) {
  const std::optional<std::string> mode = arguments.value("--preallocation");
  return mode ? parse_mode(*mode) : Preallocation::off;
}

void check(const Arguments& so_far) { parse_preallocation_option(so_far); }

int run(const Arguments& arguments, Console& console) {
  const std::vector<std::string>& words = arguments.positional();
  if (words.size() < 2) {
    const bool has_options = !arguments.sequence().empty();
    throw UsageError(words.empty() || !has_options ? "Not enough arguments"
                                                   : "Expecting image file name and size");
  }
  if (words.size() != 2) throw UsageError("Expecting image file name and size");
  ResizeOptions options;
  options.preallocation = parse_preallocation_option(arguments);
  const Secrets secrets = parse_secrets(arguments.all("--object"));
  const Change change = parse_change(words[1]);
  const ImageName name =
      parse_image_name(words[0], arguments.has("--image-opts"), arguments.value("-f"), &console);

  const std::unique_ptr<Image> image = open_writable(name, secrets, {}, console);
  const std::uint64_t present_bytes = image->virtual_size();
  const std::uint64_t wanted_bytes = change.apply_to(present_bytes);
  if (wanted_bytes <= present_bytes && options.preallocation != Preallocation::off) {
    throw Failure("Preallocation can only be used for growing images");
  }
  if (wanted_bytes < present_bytes) {
    require_shrink_option(arguments, console);
    options.may_shrink = true;
  }
  require_possible_size(*image, wanted_bytes);
  resize_image(*image, wanted_bytes, options);
  close_image(*image, name);
  if (!arguments.has("-q")) console.write("Image resized.\n");
  return 0;
}

}  // namespace

constexpr Command kResizeCommand{
    .name = "resize",
    .arguments = "FILENAME [+|-]SIZE",
    .summary = "change the size of the disk",
    .description =
        "Sets the size of the disk in FILENAME to SIZE bytes, or makes it larger or smaller by "
        "so much. What is added reads as zeroes. Partitions and file systems have to be made "
        "smaller before the disk is, and larger afterwards. SIZE is the last word of the command "
        "line.\n",
    .options = kOptions,
    .details =
        "Examples:\n"
        "  qcow resize disk.qcow2 +10G\n"
        "  qcow resize -f raw --preallocation=full disk.raw 20G\n"
        "  qcow resize --shrink disk.qcow2 -5G\n",
    .last_word = LastWord::argument,
    .check = check,
    .error_exit_code = 1,
    .run = run,
};

}  // namespace qcowkit::cli
