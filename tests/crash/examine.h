// Judging what a crash or a failure has left of an image.
#pragma once

#include <cstdint>

#include "tests/crash/image_files.h"
#include "tests/support/guest_model.h"

namespace qcowkit::test {

/// How far an examination goes.
enum class Examination {
  look,    ///< check, and read the whole disk
  use_on,  ///< then go on using it, repair its leaks, and look again
};

/// Expects an image that has leaks at most (or, with the dirty bit, one that repairs itself when it
/// is opened for writing) and whose guest reads what `model` allows after a crash. `files` are
/// changed by this. `seed` decides how the image is used on.
void examine(const Shape& shape, const ImageFiles& files, const GuestModel& model,
             Examination examination, std::uint64_t seed);

/// Expects that `content` is what the guest reads, and no corruption; `leaks_allowed` or none.
enum class Leaks { allowed, none };
void expect_sound(const Shape& shape, const ImageFiles& files, const GuestModel& model,
                  Leaks leaks);

}  // namespace qcowkit::test
