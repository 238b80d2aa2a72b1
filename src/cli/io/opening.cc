// How the I/O program opens images: the options that its command line and `open` share.
#include "cli/io/opening.h"

#include <fmt/core.h>

#include "cli/failure.h"
#include "cli/key_values.h"

namespace qcowkit::cli::io {

namespace {

ImageName name_of(const Opening& opening) {
  if (!opening.options) return parse_image_name(*opening.name, false, opening.format);
  std::string list = *opening.options;
  if (opening.name) list += ",file.filename=" + escape_commas(*opening.name);
  return parse_image_name(list, true, {});
}

void require_sense(const Opening& opening) {
  if (opening.force_share && !opening.read_only) {
    throw Failure("force-share=on can only be used with read-only images");
  }
  if (opening.copy_on_read && opening.read_only) {
    throw Failure("Can't use copy-on-read on read-only device");
  }
  const bool direct = opening.cache == CacheMode::none || opening.cache == CacheMode::directsync;
  if (opening.native_aio && !direct) {
    throw Failure(
        "aio=native was specified, but it requires cache.direct=on, which was not specified.");
  }
}

OpenOptions options_of(const Opening& opening) {
  OpenOptions options;
  options.read_only = opening.read_only;
  options.cache = opening.cache;
  if (opening.force_share) options.locking = Locking::force_share;
  if (opening.ignore_discards) {
    options.ignore_discards = true;
    options.discard_pass_through = {false, false, false};
  }
  return options;
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

void OpenDisk::close() { close_image(*image, name); }

std::unique_ptr<OpenDisk> open_disk(const Opening& opening, const Secrets& secrets,
                                    Console& console) {
  std::string text = opening.name.value_or(opening.options.value_or(""));
  try {
    require_sense(opening);
    auto disk = std::make_unique<OpenDisk>();
    disk->opening = opening;
    disk->name = name_of(opening);
    text = disk->name.text;
    disk->image = opening.read_only
                      ? open_image(disk->name, secrets, options_of(opening))
                      : open_writable(disk->name, secrets, options_of(opening), console);
    return disk;
  } catch (const Failure& e) {
    const std::string device = opening.name ? fmt::format(" device {}", *opening.name) : "";
    throw Failure(fmt::format("can't open{}: {}", device, reason(e.what(), text)), 1);
  }
}

void reopen_disk(OpenDisk& disk, const Reopening& changes, const Secrets& /*secrets*/) {
  if (changes.read_only) disk.image->reopen(*changes.read_only);
}

}  // namespace qcowkit::cli::io
