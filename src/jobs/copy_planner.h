// Hands out a copy's work, piece by piece, in the target's order.
#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "jobs/clone.h"
#include "jobs/copy_plan.h"

namespace qcowkit {

/// A sector of the source that could not be read.
struct ReadFailure {
  std::uint64_t target_offset;
  Error error;
};

/// One step of a copy: the target's guest bytes [begin, end). Reused from step to step, so that its
/// memory is allocated once.
struct CopyItem {
  enum class Kind : std::uint8_t {
    data,   ///< read `pieces`, look for zeroes, write `spans`
    zero,   ///< make the range read as zeroes
    clone,  ///< let the target share the blocks of `pieces[0]`
  };
  Kind kind = Kind::data;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::vector<CopyPiece> pieces;
  std::vector<UnitSpan> spans;
  std::vector<UnitSpan> searched;             ///< `spans` in the making
  Buffer buffer;                              ///< the bytes of [begin, end)
  std::vector<CompressedCluster> compressed;  ///< of the spans that are copied, in their order
  std::vector<ReadFailure> failures;          ///< that the copy goes on after
};

/// What a copy's options come to, for these images.
struct CopyShape {
  CopyShape(const CopyRequest& request, const Image& target);

  std::uint64_t unit_bytes;      ///< what is found to be zero, and written, as a whole
  std::uint64_t chunk_bytes;     ///< most that is read at once; a multiple of `unit_bytes`
  std::uint64_t clone_bytes;     ///< most that is shared at once; the same
  std::uint64_t target_bytes;    ///< the target's virtual size
  std::uint64_t zero_run_bytes;  ///< shorter runs of zeroes inside data are written; 0: all are
  bool writes_zeroes;            ///< what is zero has to be written, too
  bool may_clone;                ///< blocks may be shared with the source
  bool in_order;                 ///< the target's clusters are to be allocated in guest order
};

/// Cuts the way through the sources into items: what needs no work costs one step for each extent,
/// whatever its size. Used by one thread at a time.
class CopyPlanner {
 public:
  CopyPlanner(const CopyRequest& request, const CopyShape& shape, const Cloner& cloner);

  std::uint64_t total_bytes() const noexcept { return walk_.size(); }

  /// Fills `item` with the next step; false: there is no more to do.
  bool next(CopyItem& item);

 private:
  bool plan_run(const CopyPiece& piece, CopyItem& item);
  void plan_chunk(CopyItem& item, std::uint64_t chunk_bytes);
  bool ends_chunk(const CopyPiece& piece, std::uint64_t at, std::uint64_t chunk_end) const;
  std::uint64_t whole_units_end(const CopyPiece& piece) const noexcept;
  Cloner::Verdict verdict_on(const CopyPiece& piece) const;

  const CopyShape& shape_;
  const Cloner& cloner_;
  SourceWalk walk_;
  std::uint64_t position_ = 0;  ///< a multiple of the unit, or the end
};

}  // namespace qcowkit
