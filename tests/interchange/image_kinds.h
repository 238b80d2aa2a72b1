// The grid of options that images are made with, by us and by the reference.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "qcowkit/image.h"

namespace qcowkit::test {

struct ImageKind {
  enum class Backing { none, raw, qcow2 };

  const char* name;
  CreateOptions options;  ///< without references to other files
  Backing backing = Backing::none;
  bool data_file = false;

  bool has_compression() const noexcept { return !data_file; }
  bool can_have_snapshots() const noexcept { return !data_file && options.refcount_bits >= 8; }
  /// Over a backing file, version 2 cannot say that a cluster is zero.
  bool discards() const noexcept { return options.version > 2 || backing == Backing::none; }
};
std::ostream& operator<<(std::ostream& out, const ImageKind& kind);

const std::vector<ImageKind>& image_kinds();

/// Makes an empty image in `folder`/disk.qcow2, and the files that it refers to. Returns its path.
std::string make_by_reference(const ImageKind& kind, const std::string& folder);
std::string make_by_us(const ImageKind& kind, const std::string& folder);

/// Opens for writing, with caches of the least size so that much goes through the disk.
std::unique_ptr<Image> open_for_writing(const std::string& path);

}  // namespace qcowkit::test
