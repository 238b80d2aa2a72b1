// Changes of how an image is open.
#include "cli/io/reopening.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "cli/failure.h"
#include "cli/io/option_list.h"

namespace qcowkit::cli::io {

namespace {

/// The options that can be changed while an image is open.
struct Changeable {
  std::string_view format;  ///< empty: every format's
  std::string_view name;    ///< with a '.' at its end: all that start so
};
constexpr std::array kChangeable = {
    Changeable{"", "read-only"},
    Changeable{"", "auto-read-only"},
    Changeable{"", "cache.direct"},
    Changeable{"", "cache.no-flush"},
    Changeable{"", "discard"},
    Changeable{"", "detect-zeroes"},
    Changeable{"raw", "offset"},
    Changeable{"raw", "size"},
    Changeable{"qcow2", "lazy-refcounts"},
    Changeable{"qcow2", "pass-discard-request"},
    Changeable{"qcow2", "pass-discard-snapshot"},
    Changeable{"qcow2", "pass-discard-other"},
    Changeable{"qcow2", "overlap-check"},
    Changeable{"qcow2", "overlap-check."},
    Changeable{"qcow2", "cache-size"},
    Changeable{"qcow2", "l2-cache-size"},
    Changeable{"qcow2", "l2-cache-entry-size"},
    Changeable{"qcow2", "refcount-cache-size"},
    Changeable{"qcow2", "cache-clean-interval"},
    Changeable{"qcow2", "encrypt."},
};

bool is_changeable(std::string_view format, std::string_view name) {
  return std::ranges::any_of(kChangeable, [&](const Changeable& option) {
    const bool fits =
        option.name.ends_with('.') ? name.starts_with(option.name) : name == option.name;
    return fits && (option.format.empty() || option.format == format);
  });
}

/// True if the option says what is so in any case, or nothing that matters here.
bool changes_nothing(const OpenedDisk& opened, std::string_view format, std::string_view name,
                     const std::string& value) {
  if (name == "driver") return value == format;
  if (name == "file.driver") return value == "file";
  if (name == "file.filename") return value == opened.name.path;
  return name == "file.x-check-cache-dropped" || name == "file.drop-cache";
}

/// What is left to be changed.
NodeOptions read_changes(const OpenedDisk& opened, std::string_view format,
                         const NodeOptions& wanted) {
  NodeOptions changes;
  for (const auto& [name, value] : wanted.values()) {
    const std::string text = wanted.text(name);
    if (changes_nothing(opened, format, name, text)) continue;
    if (name == "file" || name == "backing") {
      throw Failure(fmt::format("Cannot find device='' nor node-name='{}'", text));
    }
    if (!is_changeable(format, name)) {
      constexpr std::string_view kFile =
          "file.";  // what the file is asked it calls by its own name
      const std::string_view own_name =
          std::string_view(name).substr(name.starts_with(kFile) ? kFile.size() : 0);
      throw Failure(fmt::format("Cannot change the option '{}'", own_name));
    }
    changes.set(name, value);
  }
  return changes;
}

/// What went wrong, without whom it went wrong for.
std::string reason(std::string_view message, const std::string& filename) {
  const std::string name = filename + ": ";
  if (message.starts_with(name)) message.remove_prefix(name.size());
  constexpr std::string_view kWhat = "cannot reopen the image for ";
  if (message.starts_with(kWhat)) message.remove_prefix(message.find(": ") + 2);
  return std::string(message);
}

}  // namespace

void reopen(OpenedDisk& opened, const Reopening& changes, Console& console) {
  Image& image = opened.disk.image();
  NodeOptions wanted;
  if (changes.options) wanted = parse_option_list(*changes.options, console).node;
  if (changes.read_only && wanted.find("read-only") != nullptr) {
    throw Failure("Cannot set both -r/-w and 'read-only'");
  }
  const bool sets_cache =
      wanted.find("cache.direct") != nullptr || wanted.find("cache.no-flush") != nullptr;
  if (changes.cache && sets_cache) throw Failure("Cannot set both -c and the cache options");

  const std::string filename = image.filename();
  const NodeOptions node = read_changes(opened, image.format(), wanted);
  OpenOptions options = image.open_options();
  options.read_only = changes.read_only.value_or(image.is_read_only());
  options.cache = changes.cache.value_or(options.cache);
  if (options.read_only && opened.disk.copies_on_read()) {
    throw Failure(fmt::format("Can't set node '{}' to r/o with copy-on-read enabled", filename));
  }
  try {
    image.reopen(node, options);
  } catch (const Error& e) {
    throw Failure(reason(e.what(), filename));
  }
}

}  // namespace qcowkit::cli::io
