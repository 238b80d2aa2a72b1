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
#include "qcowkit/jobs.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kOptions = {
    OptionSpec{'b', "backing", "BACKING_FILE", "the new backing file; '' for none", true},
    OptionSpec{'F', "backing-format", "BACKING_FMT",
               "the new backing file's format, required with "
               "-b",
               true},
    OptionSpec{'B', "", "BACKING_FMT", "another name of -F", true},
    OptionSpec{'u', "backing-unsafe", "",
               "change only the reference: neither backing file is looked at, and the disk then "
               "reads as the new one makes it",
               true},
    OptionSpec{'c', "compress", "", "compress the clusters that are merged into the image", true},
    OptionSpec{'f', "format", "FMT", "the image's format, found out if not given", true},
    OptionSpec{'t', "cache", "CACHE",
               "cache mode of the image: writeback (default), none, writethrough, directsync or "
               "unsafe",
               true},
    kSourceCacheOption,
    kQuietOption,
    kProgressOption,
    kForceShareOption,
    kObjectOption,
    kImageOptsOption,
    kHelpOption,
};

std::optional<std::string> backing_format(const Arguments& arguments) {
  return arguments.value(arguments.has("-F") ? "-F" : "-B");
}

void check_formats(const Arguments& arguments) {
  const std::optional<std::string> format = backing_format(arguments);
  if (format && !is_known_format(*format)) {
    throw Failure(fmt::format("Invalid format name: '{}'", *format));
  }
}

/// One run of the command.
class Rebase {
 public:
  Rebase(const Arguments& arguments, const Secrets& secrets, Console& console)
      : arguments_(arguments),
        console_(console),
        is_unsafe_(arguments.has("-u")),
        backing_file_(arguments.value("-b").value_or("")),
        secrets_(secrets) {}

  void run();

 private:
  std::unique_ptr<Image> open_new_backing(const Image& image) const;
  void require_possible(const Image& image) const;
  void change(Image& image, Image* new_backing, ProgressSink progress) const;
  Failure cannot_change(std::string_view reason) const {
    return Failure(
        fmt::format("Could not change the backing file to '{}': {}", backing_file_, reason));
  }

  const Arguments& arguments_;
  Console& console_;
  const bool is_unsafe_;
  const std::string backing_file_;
  const Secrets secrets_;
  OpenOptions backing_options_;
};

void Rebase::run() {
  Progress progress(console_, Progress::mode(arguments_.has("-q"), arguments_.has("-p")));
  const CacheMode cache = parse_cache_mode(arguments_.value("-t").value_or("writeback"), "cache");
  backing_options_.cache =
      parse_cache_mode(arguments_.value("-T").value_or("writeback"), "source cache");
  if (arguments_.has("-U")) backing_options_.locking = Locking::force_share;

  const ImageName name = parse_image_name(arguments_.positional()[0],
                                          arguments_.has("--image-opts"), arguments_.value("-f"));
  OpenOptions options;
  options.cache = cache;
  // The backing file that is to be replaced unseen need not even be there.
  options.open_backing = !is_unsafe_;
  options.backing = std::make_shared<const OpenOptions>(backing_options_);
  const std::unique_ptr<Image> image = open_writable(name, secrets_, options, console_);
  check_formats(arguments_);

  std::unique_ptr<Image> new_backing;
  if (!is_unsafe_ && !backing_file_.empty()) new_backing = open_new_backing(*image);
  try {
    require_possible(*image);
    change(*image, new_backing.get(), progress.sink());
  } catch (const Failure&) {
    progress.report(1);  // there is nothing more to be done
    throw;
  }
  close_image(*image, name);
  progress.report(1);
  progress.end();
}

std::unique_ptr<Image> Rebase::open_new_backing(const Image& image) const {
  const std::string path = resolve_reference(image.filename(), backing_file_);
  try {
    return open_image(parse_image_name(path, false, backing_format(arguments_)), secrets_,
                      backing_options_);
  } catch (const Failure& e) {
    std::string_view reason = e.what();
    const std::string prefix = fmt::format("Could not open '{}': ", path);
    if (reason.starts_with(prefix)) reason.remove_prefix(prefix.size());
    throw Failure(fmt::format("Could not open new backing file '{}': {}", backing_file_, reason));
  }
}

/// Said before anything is done that would be in vain.
void Rebase::require_possible(const Image& image) const {
  if (!backing_file_.empty() && !backing_format(arguments_)) {
    throw cannot_change("backing format must be specified");
  }
  if (find_option(amend_options(image.format()), "backing_file") == nullptr) {
    throw cannot_change("Operation not supported");
  }
}

void Rebase::change(Image& image, Image* new_backing, ProgressSink progress) const {
  const std::string format =
      backing_file_.empty() ? std::string() : backing_format(arguments_).value_or("");
  try {
    if (is_unsafe_) {
      AmendOptions changes;
      changes.backing_file = backing_file_;
      changes.backing_format = format;
      image.amend(changes);
      return;
    }
    RebaseOptions options;
    options.backing_file = backing_file_;
    options.backing_format = format;
    options.compress = arguments_.has("-c");
    options.progress = std::move(progress);
    rebase(image, new_backing, options);
  } catch (const Error& e) {
    if (e.code() == make_error_code(Errc::invalid_argument))
      throw cannot_change("Invalid argument");
    throw cannot_change(without_name(e.what(), image.filename()));
  }
}

int run(const Arguments& arguments, Console& console) {
  const Secrets secrets = parse_secrets(arguments.all("--object"));
  if (arguments.positional().size() != 1) throw UsageError("Expecting one image file name");
  if (!arguments.has("-u") && !arguments.has("-b")) {
    throw UsageError("Must specify backing file (-b) or use unsafe mode (-u)");
  }
  Rebase(arguments, secrets, console).run();
  return 0;
}

}  // namespace

constexpr Command kRebaseCommand{
    .name = "rebase",
    .arguments = "FILENAME",
    .summary = "change the backing file of an image",
    .description =
        "Changes the backing file of FILENAME. The disk's content stays what it is: where the new "
        "backing file differs from the old one, the old content is merged into FILENAME first. "
        "With -u, only the reference is changed, as is needed when the backing file has been "
        "moved, renamed or converted.\n",
    .options = kOptions,
    .details =
        "Examples:\n"
        "  qcow rebase -b new-base.qcow2 -F qcow2 overlay.qcow2\n"
        "  qcow rebase -b '' overlay.qcow2\n"
        "  qcow rebase -u -b ../base.qcow2 -F qcow2 overlay.qcow2\n",
    .error_exit_code = 1,
    .run = run,
};

}  // namespace qcowkit::cli
