// qcow info: tells what an image is.
#include <fmt/core.h>

#include <array>
#include <filesystem>
#include <memory>
#include <set>
#include <system_error>

#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/failure.h"
#include "cli/info_report.h"
#include "cli/objects.h"
#include "cli/open_arguments.h"
#include "cli/untrusted.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kOptions = {
    kFormatOption,
    kOutputOption,
    OptionSpec{'\0', "backing-chain", "",
               "also tell of the backing file, its backing "
               "file and so on"},
    OptionSpec{'\0', "limits", "", "also tell how requests are best aligned and how large", true},
    OptionSpec{'t', "cache", "CACHE",
               "cache mode: writeback (default), none, writethrough, directsync or unsafe", true},
    kForceShareOption,
    kObjectOption,
    kImageOptsOption,
    kHelpOption,
};

struct Description {
  ImageInfo info;
  NodeReport nodes;
};

/// What is told of the nodes that an image consists of; the text says nothing of them but limits.
struct NodeDetails {
  bool wanted = false;
  bool with_limits = false;
};

/// Looks at one image and at nothing that it refers to.
Description describe(const ImageName& name, const NodeObjects& objects, OpenOptions options,
                     const NodeDetails& details) {
  options.open_data_file = false;
  options.for_check = true;  // a damaged image is to be described, too
  const std::unique_ptr<Image> image = open_for_description(name, options, objects);
  ImageInfo info = image->info();
  NodeReport nodes;
  if (details.wanted) nodes = report_nodes(*image, info.format, details.with_limits);
  close_image(*image, name);
  return {std::move(info), std::move(nodes)};
}

/// The same for all names of a file, but for hard links: "./a" names "././a" and so on without end.
std::string identity(const ImageName& name) {
  std::error_code is_no_file;
  const std::filesystem::path path = std::filesystem::canonical(name.path, is_no_file);
  return is_no_file ? name.path : path.string();
}

std::vector<Description> describe_chain(ImageName name, const NodeObjects& objects,
                                        const OpenOptions& options, bool whole_chain,
                                        const NodeDetails& details) {
  std::vector<Description> chain;
  std::set<std::string> seen;
  while (true) {
    if (!seen.insert(identity(name)).second) {
      throw Failure(fmt::format("Backing file '{}' creates an infinite loop.", name.text));
    }
    chain.push_back(describe(name, objects, options, details));
    const ImageInfo& info = chain.back().info;
    if (!whole_chain || info.backing_file.empty()) return chain;
    std::optional<std::string> format;
    if (!info.backing_format.empty()) format = info.backing_format;
    require_allowed(info.backing_file_resolved);
    name = parse_image_name(info.backing_file_resolved, false, format);
  }
}

int run(const Arguments& arguments, Console& console) {
  const NodeObjects objects = parse_objects(arguments.all("--object"));
  if (arguments.positional().size() != 1) throw UsageError("Expecting one image file name");
  const bool json = wants_json(arguments);
  const ImageName name = parse_image_name(arguments.positional()[0], arguments.has("--image-opts"),
                                          arguments.value("--format"), &console);
  OpenOptions options;
  options.cache = parse_cache_mode(arguments.value("-t").value_or("writeback"), "cache");
  if (arguments.has("--force-share")) options.locking = Locking::force_share;
  const bool whole_chain = arguments.has("--backing-chain");
  const bool with_limits = arguments.has("--limits");
  const std::vector<Description> chain =
      describe_chain(name, objects, options, whole_chain, {json || with_limits, with_limits});

  if (!json) {
    for (std::size_t i = 0; i < chain.size(); ++i) {
      console.print("{}{}", i == 0 ? "" : "\n", info_text(chain[i].info, chain[i].nodes));
    }
  } else if (!whole_chain) {
    console.write(json_text(info_json(chain[0].info, chain[0].nodes)));
  } else {
    Json list = Json::array();
    for (const Description& image : chain) list.push_back(info_json(image.info, image.nodes));
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
