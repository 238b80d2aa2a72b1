// qcow map: tells where an image's bytes lie.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>

#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/extents.h"
#include "cli/failure.h"
#include "cli/open_arguments.h"
#include "cli/secrets.h"
#include "cli/size_arguments.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kOptions = {
    kFormatOption,
    kOutputOption,
    OptionSpec{'s', "start-offset", "OFFSET", "start at this byte of the disk"},
    OptionSpec{'l', "max-length", "LENGTH", "look at this many bytes at most"},
    kForceShareOption,
    kObjectOption,
    kImageOptsOption,
    kHelpOption,
};

/// One line of the output.
struct Entry {
  std::uint64_t start = 0;
  std::uint64_t length = 0;
  std::uint32_t depth = 0;
  bool present = false;
  bool zero = false;
  bool data = false;
  bool compressed = false;
  std::optional<std::uint64_t> offset;
  const std::string* file = nullptr;

  /// True if `next` goes on where this ends, in the guest and on the host.
  bool continues_in(const Entry& next) const {
    if (depth != next.depth || present != next.present || zero != next.zero || data != next.data ||
        compressed != next.compressed) {
      return false;
    }
    if (!offset || !next.offset) return !offset && !next.offset;
    return *offset + length == *next.offset && file == next.file;
  }
};

Entry to_entry(const Extent& extent, bool is_hole) {
  Entry entry;
  entry.start = extent.guest_offset;
  entry.length = extent.length_bytes;
  entry.depth = extent.depth;
  entry.present = extent.kind != ExtentKind::unallocated;
  entry.compressed = extent.kind == ExtentKind::compressed;
  entry.data = extent.kind == ExtentKind::data || entry.compressed;
  entry.zero = !entry.data || is_hole;
  if (!entry.compressed) entry.offset = extent.host_offset;
  entry.file = extent.file;
  if (extent.has_unusual_space && entry.data) {
    entry.present = entry.data = entry.zero = false;
    entry.offset.reset();
  } else if (extent.has_unusual_space) {
    entry.data = true;
  }
  return entry;
}

/// A line of JSON in the making: formatting would be most of the time that a large image takes.
class JsonLine {
 public:
  void append(std::string_view text) noexcept {
    assert(text.size() <= left());
    std::memcpy(end_, text.data(), text.size());
    end_ += text.size();
  }
  void append(std::uint64_t number) noexcept {
    end_ = std::to_chars(end_, end_ + left(), number).ptr;
  }
  std::string_view view() const noexcept { return {bytes_.data(), end_}; }

 private:
  std::size_t left() const noexcept {
    return static_cast<std::size_t>(bytes_.data() + bytes_.size() - end_);
  }

  std::array<char, 256> bytes_;  // four numbers of 20 digits and 118 other characters are the most
  char* end_ = bytes_.data();
};

/// What stands between an entry's length and its offset. Few of these make up most lines: each is
/// put together once.
class JsonMiddles {
 public:
  std::string_view of(const Entry& entry) {
    const std::size_t index = (entry.present ? 1u : 0u) | (entry.zero ? 2u : 0u) |
                              (entry.data ? 4u : 0u) | (entry.compressed ? 8u : 0u);
    Middle& middle = middles_[index];
    if (middle.text.empty() || middle.depth != entry.depth) {
      middle.depth = entry.depth;
      middle.text =
          fmt::format(R"(, "depth": {}, "present": {}, "zero": {}, "data": {}, "compressed": {})",
                      entry.depth, entry.present, entry.zero, entry.data, entry.compressed);
    }
    return middle.text;
  }

 private:
  struct Middle {
    std::uint32_t depth = 0;
    std::string text;
  };
  std::array<Middle, 16> middles_;  // by the entry's flags
};

/// Prints entries in one of the two forms.
class Printer {
 public:
  Printer(Console& console, bool json) : console_(console), json_(json) {
    if (json_) {
      console_.write("[");
    } else {
      console_.print("{:<16}{:<16}{:<16}{}\n", "Offset", "Length", "Mapped to", "File");
    }
  }

  void print(const Entry& entry) {
    if (json_) {
      print_json(entry);
    } else {
      print_line(entry);
    }
  }

  void end() {
    if (json_) console_.write("]\n");
  }

 private:
  void print_json(const Entry& entry) {
    JsonLine line;
    if (!is_first_) line.append(",\n");
    line.append(R"({ "start": )");
    line.append(entry.start);
    line.append(R"(, "length": )");
    line.append(entry.length);
    line.append(json_middles_.of(entry));
    if (entry.offset) {
      line.append(R"(, "offset": )");
      line.append(*entry.offset);
    }
    line.append("}");
    console_.write(line.view());
    is_first_ = false;
  }

  /// Known zeroes are left out; what lies nowhere as it is cannot be shown.
  void print_line(const Entry& entry) {
    if (!entry.data) return;
    if (!entry.offset) {
      throw Failure("File contains external, encrypted or compressed clusters.");
    }
    if (entry.zero) return;
    console_.print("{:<16}{:<16}{:<16}{}\n", hex(entry.start), hex(entry.length),
                   hex(*entry.offset), entry.file != nullptr ? *entry.file : std::string{});
  }

  static std::string hex(std::uint64_t value) {
    return value == 0 ? "0" : fmt::format("{:#x}", value);
  }

  Console& console_;
  bool json_;
  bool is_first_ = true;
  JsonMiddles json_middles_;
};

/// Prints the range's extents as they are found, neighbours that belong together as one.
void print_map(Image& image, std::uint64_t start, std::uint64_t length, Printer& printer,
               const Console& console) {
  const std::uint64_t size = image.virtual_size();
  const std::uint64_t end = start < size ? start + std::min(length, size - start) : start;
  Entry pending;
  pending.start = start;
  visit_extents(image, start, end, [&](const Extent& extent, bool is_hole) {
    const Entry entry = to_entry(extent, is_hole);
    if (pending.length == 0) {
      pending = entry;
    } else if (pending.continues_in(entry)) {
      pending.length += entry.length;
    } else {
      printer.print(pending);
      pending = entry;
    }
    return !console.failed();
  });
  printer.print(pending);  // an empty range is an entry without a length
  printer.end();
}

std::uint64_t size_option(const Arguments& arguments, std::string_view name, std::string_view what,
                          std::uint64_t otherwise) {
  const std::optional<std::string> text = arguments.value(name);
  return text ? size_argument(*text, what) : otherwise;
}

std::uint64_t parse_start(const Arguments& arguments) {
  return size_option(arguments, "--start-offset", "start offset", 0);
}

std::uint64_t parse_length(const Arguments& arguments) {
  return size_option(arguments, "--max-length", "max length", UINT64_MAX);
}

void check(const Arguments& so_far) {
  parse_start(so_far);
  parse_length(so_far);
}

int run(const Arguments& arguments, Console& console) {
  const std::uint64_t start = parse_start(arguments);
  const std::uint64_t length = parse_length(arguments);
  const Secrets secrets = parse_secrets(arguments.all("--object"));
  if (arguments.positional().size() != 1) throw UsageError("Expecting one image file name");
  const bool json = wants_json(arguments);
  const ImageName name = parse_image_name(arguments.positional()[0], arguments.has("--image-opts"),
                                          arguments.value("--format"), &console);
  OpenOptions options;
  if (arguments.has("--force-share")) options.locking = Locking::force_share;
  const std::unique_ptr<Image> image = open_image(name, secrets, options);

  Printer printer(console, json);
  print_map(*image, start, length, printer, console);
  close_image(*image, name);
  return 0;
}

}  // namespace

constexpr Command kMapCommand{
    .name = "map",
    .arguments = "FILENAME",
    .summary = "tell where an image's bytes lie",
    .description =
        "Lists the extents of the virtual disk, each with the file of the backing chain and the "
        "offset in it at which its bytes lie.\n"
        "The human form leaves out what reads as zeroes and fails where the image has compressed "
        "clusters. The JSON form lists everything: depth counts the backing files down to the one "
        "that decides; present is false where no file of the chain has the bytes; zero says that "
        "they read as zeroes, data that clusters hold them, compressed that they do so compressed; "
        "offset is left out where there is none.\n",
    .options = kOptions,
    .details =
        "Examples:\n"
        "  qcow map disk.qcow2\n"
        "  qcow map --output=json --start-offset=1G --max-length=64M disk.qcow2\n",
    .check = check,
    .error_exit_code = 1,
    .run = run,
};

}  // namespace qcowkit::cli
