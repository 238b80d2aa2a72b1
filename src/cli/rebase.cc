// qcow rebase: changes which backing file an image refers to.
#include <fmt/core.h>

#include <array>
#include <memory>

#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/failure.h"
#include "cli/format_options.h"
#include "cli/open_arguments.h"
#include "cli/progress.h"
#include "cli/secrets.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kOptions = {
    OptionSpec{'b', "", "BACKING_FILE", "the new backing file; '' for none"},
    OptionSpec{'F', "", "BACKING_FMT", "the new backing file's format, required with -b"},
    OptionSpec{'u', "", "",
               "change only the reference: neither backing file is looked at, and the disk then "
               "reads as the new one makes it. Has to be given"},
    OptionSpec{'f', "", "FMT", "the image's format, found out if not given"},
    OptionSpec{'t', "", "CACHE",
               "cache mode of the image: writeback (default), none, writethrough, directsync or "
               "unsafe"},
    kSourceCacheOption,
    kQuietOption,
    OptionSpec{'p', "", "", "show the progress"},
    kForceShareOption,
    kObjectOption,
    kImageOptsOption,
    kHelpOption,
};

void check_formats(const Arguments& arguments) {
  const std::optional<std::string> format = arguments.value("-F");
  if (format && !is_known_format(*format)) {
    throw Failure(fmt::format("Invalid format name: '{}'", *format));
  }
}

void change_backing_file(Image& image, const std::string& backing_file,
                         const std::optional<std::string>& backing_format) {
  const auto fail = [&](std::string_view reason) {
    return Failure(
        fmt::format("Could not change the backing file to '{}': {}", backing_file, reason));
  };
  if (find_option(amend_options(image.format()), "backing_file") == nullptr) {
    throw fail("Operation not supported");
  }
  if (!backing_file.empty() && !backing_format) throw fail("backing format must be specified");
  AmendOptions changes;
  changes.backing_file = backing_file;
  changes.backing_format = backing_file.empty() ? "" : *backing_format;
  try {
    image.amend(changes);
  } catch (const Error& e) {
    throw fail(without_name(e.what(), image.filename()));
  }
}

int run(const Arguments& arguments, Console& console) {
  if (arguments.positional().size() != 1) throw UsageError("Expecting one image file name");
  const bool is_unsafe = arguments.has("-u");
  if (!is_unsafe && !arguments.has("-b")) {
    throw UsageError("Must specify backing file (-b) or use unsafe mode (-u)");
  }
  if (!is_unsafe) throw Failure("rebase without -u is not supported");
  const Secrets secrets = parse_secrets(arguments.all("--object"));
  OpenOptions options;
  options.cache = parse_cache_mode(arguments.value("-t").value_or("writeback"), "cache");
  parse_cache_mode(arguments.value("-T").value_or("writeback"), "source cache");
  // The backing file that is to be replaced need not even be there.
  options.open_backing = false;
  const bool shows_progress = arguments.has("-p") && !arguments.has("-q");
  Progress progress(console, Progress::mode(!shows_progress, shows_progress));

  const ImageName name = parse_image_name(arguments.positional()[0], arguments.has("--image-opts"),
                                          arguments.value("-f"));
  const std::unique_ptr<Image> image = open_writable(name, secrets, options, console);
  check_formats(arguments);
  change_backing_file(*image, arguments.value("-b").value_or(""), arguments.value("-F"));
  close_image(*image, name);
  progress.report(1);
  progress.end();
  return 0;
}

}  // namespace

constexpr Command kRebaseCommand{
    .name = "rebase",
    .arguments = "FILENAME",
    .summary = "change the backing file of an image",
    .description =
        "Changes the backing file that FILENAME refers to, as is needed when it has been moved, "
        "renamed or converted. Only -u is supported: the disk's content stays the same only if the "
        "new backing file has the content of the old one.\n",
    .options = kOptions,
    .details =
        "Examples:\n"
        "  qcow rebase -u -b ../base.qcow2 -F qcow2 overlay.qcow2\n"
        "  qcow rebase -u -b '' overlay.qcow2\n",
    .error_exit_code = 1,
    .run = run,
};

}  // namespace qcowkit::cli
