// length, info, alloc, map: what there is to know of the open image.
#include <fmt/core.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>

#include "cli/info_report.h"
#include "cli/io/command.h"
#include "cli/io/complaint.h"
#include "cli/io/disk.h"
#include "cli/io/numbers.h"

namespace qcowkit::cli::io {

namespace {

std::string whole_size_text(std::uint64_t bytes) { return size_text(static_cast<double>(bytes)); }

bool run_length(const Words& /*words*/, Session& session) {
  session.console().print("{}\n", whole_size_text(session.image().virtual_size()));
  return true;
}

/// Where the area of the machine's state starts: at the first entry of the L1 table behind the
/// disk's.
std::uint64_t vm_state_offset(const ImageInfo& info) {
  if (!info.qcow2) return 0;
  const std::uint64_t cluster_bytes = info.cluster_size_bytes.value_or(0);
  const std::uint64_t entry_bytes = info.qcow2->extended_l2 ? 16 : 8;
  const std::uint64_t table_covers_bytes = cluster_bytes / entry_bytes * cluster_bytes;
  if (table_covers_bytes == 0) return 0;
  return (info.virtual_size_bytes + table_covers_bytes - 1) / table_covers_bytes *
         table_covers_bytes;
}

/// What only images of this format have to say, with its headline.
std::string format_specific_text(const ImageInfo& info) {
  const std::string text = info_text(info);
  const std::size_t begin = text.find("Format specific information:\n");
  return begin == text.npos ? std::string() : text.substr(begin);
}

bool is_one_of(std::string_view format, std::initializer_list<std::string_view> formats) {
  return std::ranges::find(formats, format) != formats.end();
}

/// True for disks that only pretend to be there.
bool has_no_bytes(std::string_view name) {
  return name.starts_with("null-co:") || name.starts_with("null-aio:") ||
         name.find(R"("driver": "null-)") != name.npos;
}

/// While an image is open for writing, its bitmaps are not what they will be.
void mark_bitmaps_in_use(ImageInfo::Qcow2& info) {
  for (BitmapInfo& bitmap : info.bitmaps) bitmap.in_use = true;
}

bool run_info(const Words& /*words*/, Session& session) {
  Console& console = session.console();
  ImageInfo info = session.image().info();
  if (!session.image().is_read_only() && info.qcow2) mark_bitmaps_in_use(*info.qcow2);
  console.print("format name: {}\n", info.format);
  // What is no format but a protocol, the reference names as such, too.
  if (is_one_of(info.format, {"null-co", "null-aio", "file", "host_device", "nbd"})) {
    console.print("format name: {}\n", info.format);
  }
  if (has_no_bytes(info.filename)) return false;  // there is no more to be known
  console.print("cluster size: {}\nvm state offset: {}\n{}",
                whole_size_text(info.cluster_size_bytes.value_or(0)),
                whole_size_text(vm_state_offset(info)), format_specific_text(info));
  return true;
}

/// A run of bytes that are all, or none of them, stored in the image's own layer.
struct Run {
  std::uint64_t length_bytes;
  bool is_allocated;
};

Run run_at(Image& image, std::uint64_t offset, std::uint64_t length_bytes) {
  Run run{0, false};
  while (run.length_bytes < length_bytes) {
    const std::uint64_t at = offset + run.length_bytes;
    const Extent extent = image.map_layer(at, length_bytes - run.length_bytes);
    const bool is_allocated = extent.kind != ExtentKind::unallocated;
    if (run.length_bytes != 0 && is_allocated != run.is_allocated) break;
    run.is_allocated = is_allocated;
    run.length_bytes += extent.length_bytes;
  }
  return run;
}

bool run_alloc(const Words& words, Session& session) {
  const std::uint64_t begin = parse_number(words[1], session.console());
  std::uint64_t length_bytes =
      words.size() == 3 ? parse_number(words[2], session.console()) : kSectorBytes;
  Image& image = session.image();
  const std::uint64_t size = image.virtual_size();
  length_bytes = begin > size ? 0 : std::min(length_bytes, size - begin);

  std::uint64_t allocated_bytes = 0;
  try {
    for (std::uint64_t done = 0; done < length_bytes;) {
      const Run run = run_at(image, begin + done, length_bytes - done);
      if (run.is_allocated) allocated_bytes += run.length_bytes;
      done += run.length_bytes;
    }
  } catch (const Error& e) {
    throw Complaint(fmt::format("is_allocated failed: {}", error_name(e)));
  }
  session.console().print("{}/{} bytes allocated at offset {}\n", allocated_bytes, length_bytes,
                          whole_size_text(begin));
  return true;
}

bool run_map(const Words& /*words*/, Session& session) {
  Image& image = session.image();
  const std::uint64_t size = image.virtual_size();
  try {
    for (std::uint64_t offset = 0; offset < size;) {
      const Run run = run_at(image, offset, size - offset);
      session.console().print("{} ({:#x}) bytes {} at offset {} ({:#x})\n",
                              whole_size_text(run.length_bytes), run.length_bytes,
                              run.is_allocated ? "    allocated" : "not allocated",
                              whole_size_text(offset), offset);
      offset += run.length_bytes;
    }
  } catch (const Error& e) {
    throw Complaint(fmt::format("Failed to get allocation status: {}", error_name(e)));
  }
  return true;
}

}  // namespace

constexpr Command kLengthCommand{
    .name = "length",
    .alias = "l",
    .summary = "gets the length of the current file",
    .arguments_max = 0,
    .needs_image = true,
    .run = run_length,
};

constexpr Command kInfoCommand{
    .name = "info",
    .alias = "i",
    .summary = "prints information about the current file",
    .arguments_max = 0,
    .needs_image = true,
    .run = run_info,
};

constexpr Command kAllocCommand{
    .name = "alloc",
    .alias = "a",
    .arguments = "offset [count]",
    .summary = "checks if offset is allocated in the file",
    .arguments_min = 1,
    .arguments_max = 2,
    .needs_image = true,
    .run = run_alloc,
};

constexpr Command kMapCommand{
    .name = "map",
    .arguments = "",  // the reference's list shows the two blanks
    .summary = "prints the allocated areas of a file",
    .arguments_max = 0,
    .needs_image = true,
    .run = run_map,
};

}  // namespace qcowkit::cli::io
