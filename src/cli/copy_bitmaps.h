// Copies bitmaps from one image to another.
#pragma once

#include <string_view>

#include "cli/console.h"
#include "qcowkit/image.h"

namespace qcowkit::cli {

/// True if bitmaps can be stored in the image.
bool can_hold_bitmaps(const Image& image);

/// Throws `Failure` if the source can have no bitmaps, or has one that cannot be copied and is not
/// to be left out either. `program` is what the message calls the program that can delete it.
void require_bitmaps(const Image& source, bool skip_broken, std::string_view program);

/// Throws `Failure` unless both disks have the same size, as bitmaps that are merged have to have.
void require_same_size(const Image& source, const Image& target);

/// Gives `target` all of the source's bitmaps; warns of those that are left out. Throws `Failure`.
void copy_bitmaps(Image& source, Image& target, bool skip_broken, Console& console);

}  // namespace qcowkit::cli
