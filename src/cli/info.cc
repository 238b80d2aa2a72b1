// qcow info: tells what an image is.
#include <fmt/core.h>

#include <array>
#include <memory>
#include <set>

#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/failure.h"
#include "cli/info_report.h"
#include "cli/open_arguments.h"
#include "cli/secrets.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kOptions = {
    kFormatOption,
    kOutputOption,
    OptionSpec{'\0', "backing-chain", "",
               "also tell of the backing file, its backing "
               "file and so on"},
    kForceShareOption,
    kObjectOption,
    kImageOptsOption,
    kHelpOption,
};

/// Looks at one image and at nothing that it refers to.
ImageInfo describe(const ImageName& name, bool force_share) {
  OpenOptions options;
  options.open_data_file = false;
  options.for_check = true;  // a damaged image is to be described, too
  if (force_share) options.locking = Locking::force_share;
  const std::unique_ptr<Image> image = open_for_description(name, options);
  ImageInfo info = image->info();
  close_image(*image, name);
  return info;
}

std::vector<ImageInfo> describe_chain(ImageName name, bool whole_chain, bool force_share) {
  std::vector<ImageInfo> chain;
  std::set<std::string> seen;
  while (true) {
    if (!seen.insert(name.path).second) {
      throw Failure(fmt::format("Backing file '{}' creates an infinite loop.", name.text));
    }
    chain.push_back(describe(name, force_share));
    const ImageInfo& info = chain.back();
    if (!whole_chain || info.backing_file.empty()) return chain;
    std::optional<std::string> format;
    if (!info.backing_format.empty()) format = info.backing_format;
    name = parse_image_name(info.backing_file_resolved, false, format);
  }
}

int run(const Arguments& arguments, Console& console) {
  const bool json = wants_json(arguments);
  parse_secrets(arguments.all("--object"));
  if (arguments.positional().size() != 1) throw UsageError("Expecting one image file name");
  const ImageName name = parse_image_name(arguments.positional()[0], arguments.has("--image-opts"),
                                          arguments.value("--format"));
  const bool whole_chain = arguments.has("--backing-chain");
  const std::vector<ImageInfo> chain =
      describe_chain(name, whole_chain, arguments.has("--force-share"));

  if (!json) {
    for (std::size_t i = 0; i < chain.size(); ++i) {
      console.print("{}{}", i == 0 ? "" : "\n", info_text(chain[i]));
    }
  } else if (!whole_chain) {
    console.write(json_text(info_json(chain[0])));
  } else {
    Json list = Json::array();
    for (const ImageInfo& info : chain) list.push_back(info_json(info));
    console.write(json_text(list));
  }
  return 0;
}

}  // namespace

constexpr Command kInfoCommand{
    .name = "info",
    .arguments = "FILENAME",
    .summary = "tell what an image is",
    .description =
        "Tells the image's format, the size of the virtual disk, the host space in use, the "
        "backing file, snapshots and what else its format knows. Neither a backing file nor an "
        "external data file is opened unless --backing-chain asks for it.\n",
    .options = kOptions,
    .details =
        "Examples:\n"
        "  qcow info disk.qcow2\n"
        "  qcow info --backing-chain --output=json overlay.qcow2\n",
    .error_exit_code = 1,
    .run = run,
};

}  // namespace qcowkit::cli
