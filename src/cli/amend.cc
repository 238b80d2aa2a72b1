// qcow amend: changes what an image was created with.
#include <fmt/core.h>

#include <array>
#include <memory>

#include "cli/amend_arguments.h"
#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/failure.h"
#include "cli/format_options.h"
#include "cli/key_values.h"
#include "cli/open_arguments.h"
#include "cli/option_values.h"
#include "cli/progress.h"
#include "cli/secrets.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kOptions = {
    OptionSpec{'o', "", "OPTIONS",
               "what to change, as in compat=1.1,lazy_refcounts=on; help lists it"},
    OptionSpec{'f', "", "FMT", "the image's format, found out if not given"},
    OptionSpec{'t', "", "CACHE",
               "cache mode: writeback (default), none, writethrough, directsync or unsafe"},
    OptionSpec{'\0', "force", "", "allow what can make the image unreadable"},
    kQuietOption,
    OptionSpec{'p', "", "", "show the progress"},
    kObjectOption,
    kImageOptsOption,
    kHelpOption,
};

void check(const Arguments& so_far) { join_option_lists(so_far.all("-o")); }

int run(const Arguments& arguments, Console& console) {
  const std::string list = join_option_lists(arguments.all("-o"));
  const Secrets secrets = parse_secrets(arguments.all("--object"));
  if (!arguments.has("-o")) throw UsageError("Must specify options (-o)");
  const bool wants_help = asks_for_help(list);
  const std::optional<std::string> format = arguments.value("-f");
  if (wants_help && format) {
    print_amend_options(console, *format);
    return 0;
  }
  const bool shows_progress = arguments.has("-p") && !arguments.has("-q");
  Progress progress(console, Progress::mode(!shows_progress, shows_progress),
                    Progress::Begin::with_report);
  if (arguments.positional().size() != 1) throw Failure("Expecting one image file name");
  OpenOptions options;
  options.cache = parse_cache_mode(arguments.value("-t").value_or("writeback"), "cache");
  const ImageName name =
      parse_image_name(arguments.positional()[0], arguments.has("--image-opts"), format, &console);
  const std::unique_ptr<Image> image = open_writable(name, secrets, options, console);
  if (wants_help) {
    print_amend_options(console, image->format());
    return 0;
  }

  AmendOptions changes = amend_options_from(list, *image, secrets, console.program());
  changes.force = arguments.has("--force");
  progress.report(0);
  changes.progress = progress.sink();
  try {
    image->amend(changes);
  } catch (const Error& e) {
    throw Failure(without_name(e.what(), image->filename()));
  }
  progress.report(1);
  progress.end();
  close_image(*image, name);
  return 0;
}

}  // namespace

constexpr Command kAmendCommand{
    .name = "amend",
    .arguments = "FILENAME",
    .summary = "change the options of an image",
    .description =
        "Changes what the image FILENAME was created with: its size, the version of its format, "
        "the width of its reference counts, the passphrases of an encrypted one. What can be "
        "changed depends on the format.\n",
    .options = kOptions,
    .details =
        "Examples:\n"
        "  qcow amend -o help -f qcow2\n"
        "  qcow amend -o compat=1.1,lazy_refcounts=on disk.qcow2\n"
        "  qcow amend --object secret,id=old,file=old.txt \\\n"
        "      --object secret,id=new,file=new.txt -o state=active,new-secret=new \\\n"
        "      --image-opts driver=luks,key-secret=old,file.filename=disk.luks\n",
    .check = check,
    .error_exit_code = 1,
    .run = run,
};

}  // namespace qcowkit::cli
