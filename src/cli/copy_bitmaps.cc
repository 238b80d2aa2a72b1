// Copies bitmaps from one image to another.
#include "cli/copy_bitmaps.h"

#include <fmt/core.h>

#include "cli/failure.h"
#include "cli/open_arguments.h"

namespace qcowkit::cli {

namespace {

void copy_bitmap(const BitmapInfo& bitmap, Image& source, Image& target) {
  try {
    // Disabled at first, so that it follows nothing but what is merged into it.
    target.add_bitmap(
        {.name = bitmap.name, .granularity_bytes = bitmap.granularity_bytes, .enabled = false});
  } catch (const Error& e) {
    throw Failure(fmt::format("Failed to create bitmap {}: {}", bitmap.name,
                              without_name(e.what(), target.filename())));
  }
  try {
    require_same_size(source, target);
    target.merge_bitmap(bitmap.name, source, bitmap.name);
    if (bitmap.automatic) target.enable_bitmap(bitmap.name, true);
  } catch (const std::exception& e) {
    throw Failure(fmt::format("Failed to populate bitmap {}: {}", bitmap.name,
                              without_name(e.what(), target.filename())));
  }
}

}  // namespace

void require_same_size(const Image& source, const Image& target) {
  if (source.virtual_size() == target.virtual_size()) return;
  throw Failure(
      fmt::format("Bitmaps are of different sizes (destination size is {}, source size is {}) and "
                  "can't be merged",
                  target.virtual_size(), source.virtual_size()));
}

bool can_hold_bitmaps(const Image& image) {
  const ImageInfo info = image.info();
  return info.qcow2 && info.qcow2->version >= 3;
}

void require_bitmaps(const Image& source, bool skip_broken, std::string_view program) {
  if (!can_hold_bitmaps(source)) throw Failure("Source lacks bitmap support");
  if (skip_broken) return;
  for (const BitmapInfo& bitmap : source.bitmaps()) {
    if (!bitmap.in_use) continue;
    throw Failure(
        fmt::format("Cannot copy inconsistent bitmap '{}'\n"
                    "Try --skip-broken-bitmaps, or use '{} bitmap --remove' to delete it",
                    bitmap.name, program));
  }
}

void copy_bitmaps(Image& source, Image& target, bool skip_broken, Console& console) {
  for (const BitmapInfo& bitmap : source.bitmaps()) {
    if (bitmap.in_use && skip_broken) {
      console.error(fmt::format("warning: Skipping inconsistent bitmap '{}'", bitmap.name));
      continue;
    }
    copy_bitmap(bitmap, source, target);
  }
}

}  // namespace qcowkit::cli
