// Part of qcowkit. MIT licence; see LICENSE.
//
// Work on whole images. A job takes open images, options, a progress sink and a stop token; it runs
// on the caller's thread plus as many workers as its options say, and returns when all is done.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "qcowkit/image.h"

namespace qcowkit {

struct CopyOptions {
  /// Runs of zeroes of at least this many bytes inside data are not written (multiple of 512); 0:
  /// everything is written, the target fully allocated, and the source is not asked for holes.
  std::uint64_t sparse_bytes = 4096;
  bool compress = false;
  int compression_level = 0;
  std::uint32_t workers = 0;         ///< parallel workers; 0: as many as there are cores
  bool out_of_order_writes = false;  ///< the target's clusters may be allocated in any order
  bool target_is_zero = false;       ///< a new target: zeroes need not be written
  /// A new target with a backing file (`convert -B`): what `shared_base` provides is skipped,
  /// zeroes are written. Only with one source, and without `target_is_zero`.
  bool target_has_backing = false;
  /// With `target_has_backing`: the image in the source's chain that equals the target's backing
  /// file; what it and those behind it provide is not copied. Null: nothing is skipped; what no
  /// layer provides is written as zeroes, so that the target's backing file does not show through.
  Image* shared_base = nullptr;
  ProgressSink progress;
  std::stop_token stop;
};

/// Copies the sources, one behind the other, into `target`, which must be at least as large as all
/// of them together. Does not flush or close.
void copy(const std::vector<Image*>& sources, Image& target, const CopyOptions& options);

struct CompareOptions {
  bool strict = false;  ///< sizes and allocation must be equal, too
  ProgressSink progress;
  std::stop_token stop;
};

struct CompareResult {
  enum class Verdict { identical, sizes_differ, content_differs, allocation_differs };
  Verdict verdict = Verdict::identical;
  std::uint64_t guest_offset = 0;  ///< of the first sector (512 bytes) or extent that differs
  bool size_warning = false;       ///< sizes differ, the surplus reads as zeroes
};

/// Compares what two guests would read.
CompareResult compare(Image& first, Image& second, const CompareOptions& options = {});

struct Measurement {
  std::uint64_t required_bytes = 0;         ///< file size of the new image
  std::uint64_t fully_allocated_bytes = 0;  ///< file size once every sector is written
  std::optional<std::uint64_t> bitmaps_bytes;
};

/// The size that an image made with `target` would have: empty, or holding what `source` holds.
Measurement measure(const CreateOptions& target, Image* source = nullptr);

}  // namespace qcowkit
