// qcow commit: merges an image into one that it lies over.
#include <fmt/core.h>

#include <array>
#include <memory>

#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/failure.h"
#include "cli/open_arguments.h"
#include "cli/progress.h"
#include "cli/secrets.h"
#include "cli/size_arguments.h"
#include "qcowkit/jobs.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kOptions = {
    OptionSpec{'b', "base", "BASE",
               "the image of the backing chain to merge into (the backing file); FILENAME then "
               "keeps its content",
               true},
    OptionSpec{'d', "drop", "", "do not empty FILENAME: it is not needed any more", true},
    OptionSpec{'r', "rate-limit", "RATE", "copy at most this many bytes of data a second", true},
    OptionSpec{'f', "format", "FMT", "the image's format, found out if not given", true},
    OptionSpec{'t', "cache", "CACHE",
               "cache mode of the images: writeback (default), none, writethrough, directsync or "
               "unsafe",
               true},
    kQuietOption,
    kProgressOption,
    kObjectOption,
    kImageOptsOption,
    kHelpOption,
};

/// The image that `name` means in the chain behind `top`: as the image over it refers to it, or a
/// path that starts from there. Null: none.
Image* find_in_chain(const Image& top, const std::string& name) {
  const Image* overlay = &top;
  for (Image* image = top.backing(); image != nullptr; image = image->backing()) {
    if (name == overlay->info().backing_file || name == image->filename() ||
        is_same_file(resolve_reference(overlay->filename(), name), image->filename())) {
      return image;
    }
    overlay = image;
  }
  return nullptr;
}

Image& choose_base(const Image& top, const Arguments& arguments) {
  const std::optional<std::string> name = arguments.value("-b");
  Image* const base = name ? find_in_chain(top, *name) : top.backing();
  if (base != nullptr) return *base;
  if (!name) throw Failure("Image does not have a backing file");
  throw Failure(fmt::format("Did not find '{}' in the backing chain of '{}'", *name,
                            arguments.positional()[0]));
}

/// What the error is without the places that it came through.
std::string reason_of(const Error& error) {
  if (error.code() == make_error_code(Errc::unsupported)) return "Operation not supported";
  if (error.code().category() == std::generic_category()) return error.code().message();
  return error.what();
}

void make_writable(Image& base) {
  try {
    base.reopen(false);
  } catch (const Error& e) {
    throw Failure(fmt::format("Could not open '{}': {}", base.filename(), reason_of(e)));
  }
}

/// 0: no limit.
std::uint64_t parse_rate(const Arguments& arguments) {
  const std::optional<std::string> rate = arguments.value("-r");
  return rate ? size_argument(*rate, "rate limit") : 0;
}

void check(const Arguments& so_far) { parse_rate(so_far); }

int run(const Arguments& arguments, Console& console) {
  CommitOptions options;
  options.bytes_per_second = parse_rate(arguments);
  const Secrets secrets = parse_secrets(arguments.all("--object"));
  if (arguments.positional().size() != 1) throw UsageError("Expecting one image file name");
  OpenOptions open_options;
  open_options.cache = parse_cache_mode(arguments.value("-t").value_or("writeback"), "cache");
  const ImageName name = parse_image_name(arguments.positional()[0], arguments.has("--image-opts"),
                                          arguments.value("-f"), &console);
  const std::unique_ptr<Image> image = open_writable(name, secrets, open_options, console);
  const bool quiet = arguments.has("-q");
  Progress progress(console, Progress::mode(quiet, arguments.has("-p")));
  Image& base = choose_base(*image, arguments);

  make_writable(base);
  // What the images between would make of an empty one is not what it was.
  options.keep_top = arguments.has("-d") || arguments.has("-b");
  options.progress = progress.sink();
  try {
    commit(*image, base, options);
  } catch (const Error& e) {
    throw Failure(fmt::format("Block job failed: {}", reason_of(e)));
  }
  close_image(*image, name);
  progress.end();
  if (!quiet) console.write("Image committed.\n");
  return 0;
}

}  // namespace

constexpr Command kCommitCommand{
    .name = "commit",
    .arguments = "FILENAME",
    .summary = "merge an image into its backing file",
    .description =
        "Writes what FILENAME holds into its backing file, or into BASE, an image further behind, "
        "and then empties FILENAME. The image that is merged into grows where FILENAME's disk is "
        "larger; it never shrinks. Images between BASE and FILENAME must not be used any more.\n",
    .options = kOptions,
    .details =
        "Examples:\n"
        "  qcow commit overlay.qcow2\n"
        "  qcow commit -p -d -b base.qcow2 overlay.qcow2\n",
    .check = check,
    .error_exit_code = 1,
    .run = run,
};

}  // namespace qcowkit::cli
