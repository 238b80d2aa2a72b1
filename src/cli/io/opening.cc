// How the I/O program opens images: the options that its command line and `open` share.
#include "cli/io/opening.h"

#include <fmt/core.h>

#include "cli/failure.h"
#include "cli/io/option_list.h"
#include "cli/io/overlay.h"

namespace qcowkit::cli::io {

namespace {

/// The reference takes "file" from where the name is given, too.
void require_one_file(const NodeOptions& node) {
  if (node.find("file") != nullptr || node.find("file.filename") != nullptr) {
    throw Failure("Can't specify 'file' and 'filename' options at the same time");
  }
}

ImageName name_of(const Opening& opening, Console& console) {
  if (!opening.options) {
    if (!opening.name) throw Failure("Must specify either driver or file");
    return parse_image_name(*opening.name, false, opening.format);
  }
  ImageName name = parse_option_list(*opening.options, console);
  if (opening.name) {
    require_one_file(name.node);
    name.node.add_defaults(parse_image_name(*opening.name, false, {}).node);
    name.text = name.path = *opening.name;
  }
  return name;
}

void require_sense(const Opening& opening) {
  if (opening.force_share && !opening.read_only && !opening.snapshot) {
    throw Failure("force-share=on can only be used with read-only images");
  }
}

OpenOptions options_of(const Opening& opening) {
  OpenOptions options;
  options.read_only = opening.read_only;
  options.cache = opening.cache;
  if (opening.force_share) options.locking = Locking::force_share;
  options.ignore_discards = opening.ignore_discards;
  return options;
}

OpenedDisk open(const Opening& opening, ImageName name, const NodeObjects& objects,
                Console& console) {
  const OpenOptions options = options_of(opening);
  std::unique_ptr<TemporaryFile> overlay;
  std::unique_ptr<Image> image;
  if (opening.snapshot) {
    overlay = std::make_unique<TemporaryFile>();
    image = open_with_overlay(*overlay, name, objects, options);
  } else if (opening.read_only) {
    image = open_image(name, objects, options);
  } else {
    image = open_writable(name, objects, options, console);
  }
  return {std::move(name), std::move(overlay), {std::move(image), opening.copy_on_read}};
}

/// What is said after "can't open": the name is not repeated.
std::string reason(std::string_view message, std::string_view name) {
  const std::string prefix = fmt::format("Could not open '{}': ", name);
  if (message.starts_with(prefix)) message.remove_prefix(prefix.size());
  return std::string(message);
}

}  // namespace

void Opening::set_cache(const std::string& mode) { cache = parse_cache_mode(mode, "cache"); }

void Opening::set_discard(const std::string& mode) {
  if (mode == "unmap" || mode == "on") {
    ignore_discards = false;
  } else if (mode == "ignore" || mode == "off") {
    ignore_discards = true;
  } else {
    throw Failure(fmt::format("Invalid discard option: {}", mode));
  }
}

void Opening::set_aio(const std::string& mode) {
  if (mode != "threads" && mode != "native" && mode != "io_uring") {
    throw Failure(fmt::format("Invalid aio option: {}", mode));
  }
  native_aio = mode == "native";
}

void ask_files_natively(NodeOptions& node) {
  if (node.find("file.filename") != nullptr && node.find("file.aio") == nullptr) {
    node.set("file.aio", std::string("native"));
  }
}

void OpenedDisk::close() { close_image(disk.image(), name); }

std::unique_ptr<OpenedDisk> open_disk(const Opening& opening, const NodeObjects& objects,
                                      Console& console) {
  std::string text = opening.name.value_or(opening.options.value_or(""));
  try {
    ImageName name = name_of(opening, console);
    text = name.text;
    require_sense(opening);
    if (opening.native_aio) ask_files_natively(name.node);
    std::unique_ptr<OpenedDisk> opened(new OpenedDisk(open(opening, name, objects, console)));
    if (opening.copy_on_read && opening.read_only) {
      throw Failure("Can't use copy-on-read on read-only device");
    }
    return opened;
  } catch (const std::exception& e) {
    const std::string device = opening.name ? fmt::format(" device {}", *opening.name) : "";
    throw Failure(fmt::format("can't open{}: {}", device, reason(e.what(), text)), 1);
  }
}

}  // namespace qcowkit::cli::io
