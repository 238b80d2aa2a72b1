// qcow compare: tells whether two images have the same content.
#include <fmt/core.h>

#include <array>
#include <memory>

#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/failure.h"
#include "cli/open_arguments.h"
#include "cli/progress.h"
#include "cli/secrets.h"
#include "qcowkit/jobs.h"

namespace qcowkit::cli {

namespace {

constexpr int kExitDifferent = 1;
constexpr int kExitOpenFailed = 2;
constexpr int kExitAllocationUnknown = 3;
constexpr int kExitReadFailed = 4;

constexpr std::array kOptions = {
    OptionSpec{'f', "", "FMT", "the first image's format; found out if not given"},
    OptionSpec{'F', "", "FMT", "the second image's format; found out if not given"},
    OptionSpec{'s', "", "", "strict: the sizes and the allocation have to be equal, too"},
    kQuietOption,
    kProgressOption,
    kSourceCacheOption,
    kForceShareOption,
    kObjectOption,
    OptionSpec{'\0', "image-opts", "",
               "the file names are lists of options, as in "
               "driver=qcow2,file.filename=disk.qcow2"},
    kHelpOption,
};

struct Opened {
  ImageName name;
  std::unique_ptr<Image> image;
};

Opened open_one(const Arguments& arguments, std::size_t which, std::string_view format_option,
                const Secrets& secrets, const OpenOptions& options) {
  const std::optional<std::string> format = arguments.value(format_option);
  const std::string& text = arguments.positional()[which];
  try {
    ImageName name = parse_image_name(text, arguments.has("--image-opts"), format);
    std::unique_ptr<Image> image = open_image(name, secrets, options);
    return {std::move(name), std::move(image)};
  } catch (const Failure& e) {
    throw Failure(e.what(), kExitOpenFailed);
  }
}

CompareResult run_compare(const Opened& first, const Opened& second, bool strict,
                          ProgressSink progress) {
  CompareOptions options;
  options.strict = strict;
  options.progress = std::move(progress);
  try {
    return compare(*first.image, *second.image, options);
  } catch (const CompareError& e) {
    const std::string& name = (e.is_second ? second : first).name.text;
    // Damage is told of in full, an error of the system by its name.
    const bool is_systems = e.code().category() == std::generic_category();
    if (e.what_failed == CompareError::What::allocation) {
      throw Failure(fmt::format("Sector allocation test failed for {}{}", name,
                                is_systems ? "" : ": " + e.message()),
                    kExitAllocationUnknown);
    }
    throw Failure(fmt::format("Error while reading offset {} of {}: {}", e.guest_offset, name,
                              is_systems ? e.code().message() : e.message()),
                  kExitReadFailed);
  }
}

void print_result(const CompareResult& result, Console& console) {
  if (result.size_warning) console.write("Warning: Image size mismatch!\n");
  switch (result.verdict) {
    case CompareResult::Verdict::identical:
      console.write("Images are identical.\n");
      break;
    case CompareResult::Verdict::sizes_differ:
      console.write("Strict mode: Image size mismatch!\n");
      break;
    case CompareResult::Verdict::content_differs:
      console.print("Content mismatch at offset {}!\n", result.guest_offset);
      break;
    case CompareResult::Verdict::allocation_differs:
      console.print("Strict mode: Offset {} block status mismatch!\n", result.guest_offset);
      break;
  }
}

int run(const Arguments& arguments, Console& console) {
  const bool quiet = arguments.has("-q");
  OpenOptions options;
  if (arguments.has("--force-share")) options.locking = Locking::force_share;
  const Secrets secrets = parse_secrets(arguments.all("--object"));
  if (arguments.positional().size() != 2) throw UsageError("Expecting two image file names");
  Progress progress(console, Progress::mode(quiet, arguments.has("-p")),
                    Progress::Begin::with_report);
  options.cache = parse_cache_mode(arguments.value("-T").value_or("writeback"), "source cache");

  const Opened first = open_one(arguments, 0, "-f", secrets, options);
  const Opened second = open_one(arguments, 1, "-F", secrets, options);
  progress.report(0);
  const CompareResult result = run_compare(first, second, arguments.has("-s"), progress.sink());
  if (!quiet) print_result(result, console);
  progress.end();
  close_image(*first.image, first.name);
  close_image(*second.image, second.name);
  return result.verdict == CompareResult::Verdict::identical ? 0 : kExitDifferent;
}

}  // namespace

constexpr Command kCompareCommand{
    .name = "compare",
    .arguments = "FILENAME1 FILENAME2",
    .summary = "tell whether two images have the same content",
    .description =
        "Compares what two guests would read; formats and settings do not matter. Where one image "
        "is longer, what it has behind the other's end must read as zeroes.\n",
    .options = kOptions,
    .details =
        "Exit codes:\n"
        "  0  the images are identical\n"
        "  1  the images differ (or the command line makes no sense)\n"
        "  2  an image could not be opened\n"
        "  3  an image's metadata could not be read\n"
        "  4  an image's data could not be read\n\n"
        "Examples:\n"
        "  qcow compare disk.raw disk.qcow2\n"
        "  qcow compare -s -f qcow2 -F qcow2 a.qcow2 b.qcow2\n",
    .error_exit_code = kExitOpenFailed,
    .run = run,
};

}  // namespace qcowkit::cli
