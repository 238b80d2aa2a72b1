// Which parts of the sources go where in the target, and how: the "map" half of a copy.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "jobs/extent_walk.h"
#include "qcowkit/jobs.h"

namespace qcowkit {

/// A copy, and what only jobs ask for that are copies underneath.
struct CopyRequest {
  std::vector<Image*> sources;
  CopyOptions options;
  /// The target is `options.shared_base` itself, which the only source lies over: data is copied
  /// without a look for zeroes in it, and what no image above the target decides is left as it is.
  bool is_commit = false;
};

/// Does what the request says; see `copy`.
void run_copy(const CopyRequest& request, Image& target);

/// What the target needs for a run of its guest bytes.
enum class Content : std::uint8_t {
  copy,  ///< the source's bytes
  zero,  ///< known to be zeroes
  skip,  ///< the target's backing file provides the same bytes
};

/// A run of the target's guest bytes [begin, end) of one content, from one source.
struct CopyPiece {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  Content content = Content::copy;
  Image* source = nullptr;
  std::uint64_t source_offset = 0;  ///< guest offset in `source` of `begin`
  /// With `copy`: plain bytes in this storage, at `host_offset`; else null.
  Storage* storage = nullptr;
  std::uint64_t host_offset = 0;

  std::uint64_t length() const noexcept { return end - begin; }
};

/// The sources one behind the other, as runs of target guest bytes. Used by one thread at a time.
class SourceWalk {
 public:
  explicit SourceWalk(const CopyRequest& request);

  /// The bytes that are copied of all sources together.
  std::uint64_t size() const noexcept { return size_; }

  /// The longest run of one content that starts at `offset`, which is below `size()` and not below
  /// that of the call before.
  CopyPiece at(std::uint64_t offset);

 private:
  struct Source {
    ExtentWalk walk;
    std::uint64_t begin;  ///< target offset of the first byte that is copied
    std::uint64_t end;
    std::uint64_t skipped_bytes;  ///< of the source, before that
  };

  void add_source(Image& source, std::uint64_t skipped_bytes, std::uint64_t length_bytes);

  Content content_of(const StoredRun& run) const noexcept;

  // Constant after construction.
  const bool asks_for_holes_;
  const bool is_commit_;
  const Image* const shared_base_;
  std::optional<std::uint32_t> shared_depth_;  ///< of the shared base in the source's chain
  std::uint64_t size_ = 0;

  std::vector<Source> sources_;
  std::size_t current_ = 0;
};

/// A run of whole units [begin, end) that gets one treatment.
struct UnitSpan {
  std::uint64_t begin;
  std::uint64_t end;
  Content content;

  friend bool operator==(const UnitSpan&, const UnitSpan&) = default;
};

/// Cuts `pieces`, which follow each other without a gap from a multiple of `unit_bytes` on, into
/// spans of whole units (the last one ends where the pieces end). A unit of mixed contents is
/// copied whole, so that no unit is touched twice. Replaces the content of `spans`.
void cut_into_units(const std::vector<CopyPiece>& pieces, std::uint64_t unit_bytes,
                    std::vector<UnitSpan>& spans);

}  // namespace qcowkit
