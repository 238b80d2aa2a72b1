// What an image holds as a whole: the disk, its snapshots, and what its header refers to.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "tests/crash/image_files.h"

namespace qcowkit::test {

struct LifeState {
  struct Snapshot {
    std::string name;
    std::vector<std::byte> disk;
    std::vector<std::byte> vm_state;

    bool operator==(const Snapshot&) const = default;
  };

  std::vector<std::byte> disk;
  std::vector<Snapshot> snapshots;
  std::string backing_file;
  std::string backing_format;

  bool operator==(const LifeState&) const = default;
};

/// Reads everything from files that nobody has open. Throws `Error`.
LifeState read_state(const Shape& shape, const ImageFiles& files);

/// What is wrong with `found`, if it is neither of the two. Nothing is mixed: all of it is as
/// before, or all is as after.
std::optional<std::string> neither(const LifeState& found, const LifeState& before,
                                   const LifeState& after);

/// What check finds, but for leaks and, in version 2 (which has no dirty bit), COPIED flags.
std::optional<std::string> corruption_in(const Shape& shape, const ImageFiles& files);

/// Whether the image says that it has to be repaired before it is written to.
bool is_marked_dirty(const ImageFiles& files);

}  // namespace qcowkit::test
