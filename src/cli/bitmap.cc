// qcow bitmap: makes and changes an image's persistent dirty bitmaps.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <memory>

#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/copy_bitmaps.h"
#include "cli/failure.h"
#include "cli/open_arguments.h"
#include "cli/secrets.h"
#include "cli/size_arguments.h"

namespace qcowkit::cli {

namespace {

constexpr std::uint64_t kGranularityBytesMin = 512;
constexpr std::uint64_t kGranularityBytesMax = std::uint64_t{1} << 31;

constexpr std::array kOptions = {
    OptionSpec{'\0', "add", "", "make the bitmap"},
    OptionSpec{'\0', "remove", "", "delete the bitmap"},
    OptionSpec{'\0', "remove-all", "", "delete all bitmaps; there is no BITMAP then", true},
    OptionSpec{'\0', "clear", "", "forget all that the bitmap has noted"},
    OptionSpec{'\0', "enable", "", "let the bitmap note what is written from now on"},
    OptionSpec{'\0', "disable", "", "let the bitmap stay as it is"},
    OptionSpec{'\0', "merge", "SOURCE", "add to the bitmap what the bitmap SOURCE has noted"},
    OptionSpec{'g', "granularity", "SIZE",
               "with --add: how much of the disk one bit stands for, a power of two from 512 (a "
               "cluster, at most 64k)"},
    OptionSpec{'b', "source-file", "SOURCE_FILE", "with --merge: the image that has SOURCE"},
    OptionSpec{'F', "source-format", "SOURCE_FMT", "the format of SOURCE_FILE"},
    OptionSpec{'f', "", "FMT", "the image's format, found out if not given"},
    kObjectOption,
    kImageOptsOption,
    kHelpOption,
};

constexpr std::string_view kRemoveAll = "remove-all";
constexpr std::array<std::string_view, 7> kActions = {"add",    "remove",  kRemoveAll, "clear",
                                                      "enable", "disable", "merge"};

using Actions = std::vector<Arguments::Given>;

/// What is to be done, in the order given.
Actions chosen_actions(const Arguments& arguments) {
  Actions actions;
  for (const Arguments::Given& given : arguments.sequence()) {
    if (std::ranges::find(kActions, given.name) != kActions.end()) actions.push_back(given);
  }
  return actions;
}

std::uint64_t parse_granularity(const Arguments& arguments) {
  const std::optional<std::string> text = arguments.value("-g");
  return text ? size_argument(*text, "granularity") : 0;
}

void check_arguments(const Arguments& arguments, const Actions& actions) {
  if (actions.empty()) {
    throw Failure("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
  }
  if (arguments.has("-g") && !arguments.has("--add")) {
    throw Failure("granularity only supported with --add");
  }
  if (arguments.has("-F") && !arguments.has("-b")) throw Failure("-F only supported with -b");
  if (arguments.has("-b") && !arguments.has("--merge")) {
    throw Failure("Merge bitmap source file only supported with --merge");
  }
  const bool needs_name = std::ranges::any_of(
      actions, [](const Arguments::Given& action) { return action.name != kRemoveAll; });
  const std::size_t names = arguments.positional().size();
  if (!needs_name && names != 1) throw Failure("Expecting filename");
  if (needs_name && names != 2) throw Failure("Expecting filename and bitmap name");
}

/// The bitmaps; none where the format has none.
std::vector<BitmapInfo> list_bitmaps(const Image& image) {
  try {
    return image.bitmaps();
  } catch (const Error& e) {
    if (e.code() == make_error_code(Errc::unsupported)) return {};
    throw;
  }
}

/// Throws `Failure` unless the image has the bitmap; `must_be_whole`: and it can be trusted.
void require_bitmap(const Image& image, const std::string& name, bool must_be_whole = true) {
  const std::vector<BitmapInfo> bitmaps = list_bitmaps(image);
  const auto found = std::ranges::find(bitmaps, name, &BitmapInfo::name);
  if (found == bitmaps.end()) throw Failure(fmt::format("Dirty bitmap '{}' not found", name));
  if (must_be_whole && found->in_use) {
    throw Failure(
        fmt::format("Bitmap '{}' is inconsistent and cannot be used\n"
                    "Try block-dirty-bitmap-remove to delete this bitmap from disk",
                    name));
  }
}

/// One image's bitmap, on which the actions are done.
class Bitmap {
 public:
  Bitmap(Image& image, std::string name, const Arguments& arguments)
      : image_(image), name_(std::move(name)), arguments_(arguments) {}

  /// `source` is the image that --merge takes from.
  void act(const Arguments::Given& action, Image& source) {
    if (action.name == "add") {
      add();
      return;
    }
    if (action.name == kRemoveAll) {
      for (const BitmapInfo& bitmap : list_bitmaps(image_)) image_.remove_bitmap(bitmap.name);
      return;
    }
    require_bitmap(image_, name_, action.name != "remove");
    if (action.name == "remove") {
      image_.remove_bitmap(name_);
    } else if (action.name == "clear") {
      image_.clear_bitmap(name_);
    } else if (action.name == "merge") {
      require_bitmap(source, action.value);
      require_same_size(source, image_);
      image_.merge_bitmap(name_, source, action.value);
    } else {
      image_.enable_bitmap(name_, action.name == "enable");
    }
  }

 private:
  void add();

  Image& image_;
  std::string name_;
  const Arguments& arguments_;
};

void Bitmap::add() {
  Image::NewBitmap bitmap;
  bitmap.name = name_;
  bitmap.granularity_bytes = parse_granularity(arguments_);
  // What is disabled at once is never enabled in between.
  bitmap.enabled = !arguments_.has("--disable");
  if (name_.empty()) throw Failure("Bitmap name cannot be empty");
  const std::uint64_t granularity = bitmap.granularity_bytes;
  if (granularity != 0 &&
      (!std::has_single_bit(granularity) || granularity < kGranularityBytesMin ||
       granularity > kGranularityBytesMax)) {
    throw Failure("Granularity must be power of 2 and at least 512");
  }
  const std::vector<BitmapInfo> bitmaps = list_bitmaps(image_);
  if (std::ranges::find(bitmaps, name_, &BitmapInfo::name) != bitmaps.end()) {
    throw Failure(fmt::format("Bitmap already exists: {}", name_));
  }
  try {
    image_.add_bitmap(bitmap);
  } catch (const Error& e) {
    const ImageInfo info = image_.info();
    if (e.code() != make_error_code(Errc::unsupported) || info.qcow2) throw;
    throw Failure(fmt::format("Can't store persistent bitmaps to {}: Operation not supported",
                              image_.filename()));
  }
}

void run_actions(const Actions& actions, Bitmap& bitmap, Image& source, const std::string& name) {
  for (const Arguments::Given& action : actions) {
    try {
      bitmap.act(action, source);
    } catch (const std::exception& e) {
      throw Failure(fmt::format("Operation {} on bitmap {} failed: {}", action.name, name,
                                without_name(e.what(), source.filename())));
    }
  }
}

void check(const Arguments& so_far) { parse_granularity(so_far); }

int run(const Arguments& arguments, Console& console) {
  const Actions actions = chosen_actions(arguments);
  parse_granularity(arguments);
  const Secrets secrets = parse_secrets(arguments.all("--object"));
  check_arguments(arguments, actions);
  const ImageName name = parse_image_name(arguments.positional()[0], arguments.has("--image-opts"),
                                          arguments.value("-f"), &console);
  const std::string bitmap_name =
      arguments.positional().size() > 1 ? arguments.positional()[1] : std::string();

  OpenOptions options;
  options.open_backing = false;  // bitmaps are the image's own
  const std::unique_ptr<Image> image = open_writable(name, secrets, options, console);
  std::unique_ptr<Image> other;
  if (const auto source = arguments.value("-b")) {
    other = open_image(parse_image_name(*source, false, arguments.value("-F")), secrets, options);
  }
  Bitmap bitmap(*image, bitmap_name, arguments);
  run_actions(actions, bitmap, other ? *other : *image, bitmap_name);
  close_image(*image, name);
  return 0;
}

}  // namespace

constexpr Command kBitmapCommand{
    .name = "bitmap",
    .arguments = "FILENAME [BITMAP]",
    .summary = "make and change persistent dirty bitmaps",
    .description =
        "Works on BITMAP, a record kept in the image FILENAME of which parts of its disk have been "
        "written to. Only qcow2 images of version 3 have them. Several actions are done in the "
        "order given.\n",
    .options = kOptions,
    .details =
        "Examples:\n"
        "  qcow bitmap --add -g 64k disk.qcow2 since-monday\n"
        "  qcow bitmap --merge since-monday -b disk.qcow2 -F qcow2 backup.qcow2 all\n"
        "  qcow bitmap --remove disk.qcow2 since-monday\n",
    .check = check,
    .error_exit_code = 1,
    .run = run,
};

}  // namespace qcowkit::cli
