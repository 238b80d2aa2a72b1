// Hands out a copy's work, piece by piece, in the target's order.
#include "jobs/copy_planner.h"

#include <algorithm>
#include <bit>

#include "base/checked.h"

namespace qcowkit {

namespace {

/// Enough for a system call's cost not to matter, little enough for the processor's cache.
constexpr std::uint64_t kChunkBytes = 1 << 20;
/// Blocks are looked at for zeroes one by one, where the target has no clusters of its own.
constexpr std::uint64_t kZeroUnitBytes = 4096;
/// As the reference: longer runs of zeroes are not asked for.
constexpr std::uint64_t kSparseBytesMax = 16 << 20;
/// Parts of a cluster that extended L2 entries tell apart.
constexpr std::uint64_t kSubclusters = 32;
/// A limited copy goes on in steps that are not noticed.
constexpr std::uint64_t kChunksPerSecond = 8;
/// As long as it is not known whether blocks can be shared, little is read.
constexpr std::uint64_t kTrialBytes = 64 << 10;
/// Less than this is sooner copied than shared, if what lies before it is read anyway.
constexpr std::uint64_t kLeastCloneBytes = 64 << 10;
/// Steps that move no bytes are bounded, so that a copy shows progress and can be stopped.
constexpr std::uint64_t kCloneBytesMax = std::uint64_t{256} << 20;
constexpr std::uint64_t kZeroBytesMax = std::uint64_t{1} << 30;

std::uint64_t unit_for(const Image& target, std::uint64_t sparse_bytes) {
  const std::uint64_t block =
      sparse_bytes == 0 ? kZeroUnitBytes : std::bit_floor(std::min(sparse_bytes, kZeroUnitBytes));
  return std::max(block, target.cluster_size());
}

/// What the images above the target say differently is copied and no more: units of their
/// granularity, where the target's clusters are larger.
std::uint64_t unit_for_commit(const Image& top, const Image& target) {
  std::uint64_t bytes = target.cluster_size();
  for (const Image* layer = &top; layer != &target && layer != nullptr; layer = layer->backing()) {
    const ImageInfo info = layer->info();
    const std::uint64_t parts = info.qcow2 && info.qcow2->extended_l2 ? kSubclusters : 1;
    bytes = std::min(bytes, layer->cluster_size() / parts);
  }
  return std::max(bytes, kZeroUnitBytes);
}

std::uint64_t chunk_for(const CopyRequest& request, std::uint64_t unit_bytes) {
  const CopyOptions& options = request.options;
  std::uint64_t bytes = kChunkBytes;
  if (options.bytes_per_second != 0) {
    bytes = std::min(bytes, std::bit_ceil(options.bytes_per_second / kChunksPerSecond));
  }
  bytes = std::max({bytes, unit_bytes, std::bit_ceil(options.sparse_bytes)});
  // A compressed cluster is to be decompressed once.
  for (const Image* source : request.sources) bytes = std::max(bytes, source->cluster_size());
  return bytes;
}

/// Extents that follow each other in a source are read as one.
void append(std::vector<CopyPiece>& pieces, const CopyPiece& piece) {
  if (!pieces.empty() && pieces.back().content == Content::copy && piece.content == Content::copy &&
      pieces.back().source == piece.source) {
    pieces.back().end = piece.end;
  } else {
    pieces.push_back(piece);
  }
}

}  // namespace

CopyShape::CopyShape(const CopyRequest& request, const Image& target)
    : target_bytes(target.virtual_size()) {
  const CopyOptions& options = request.options;
  if (options.sparse_bytes % 512 != 0 || options.sparse_bytes > kSparseBytesMax) {
    throw Error(Errc::invalid_argument,
                "The least run of zeroes must be a multiple of 512 bytes and at most 16 MiB");
  }
  const bool has_clusters = target.cluster_size() != 0;
  unit_bytes = request.is_commit ? unit_for_commit(*request.sources[0], target)
                                 : unit_for(target, options.sparse_bytes);
  chunk_bytes = chunk_for(request, unit_bytes);
  clone_bytes = options.bytes_per_second == 0 ? kCloneBytesMax : chunk_bytes;
  zero_run_bytes = request.is_commit ? 0 : options.sparse_bytes;
  writes_zeroes = !options.target_is_zero || options.target_has_backing;
  // Sharing would leave a target that is to be fully allocated without space of its own. Clusters
  // that an old target already has are written where they are.
  const bool is_new = options.target_is_zero || options.target_has_backing;
  may_clone = options.sparse_bytes != 0 && !options.compress && !options.on_read_error &&
              (is_new || !has_clusters) && is_aligned(unit_bytes, Cloner::kAlignment) &&
              unit_bytes >= target.cluster_size();
  in_order = has_clusters && !options.out_of_order_writes;
}

CopyPlanner::CopyPlanner(const CopyRequest& request, const CopyShape& shape, const Cloner& cloner)
    : shape_(shape), cloner_(cloner), walk_(request) {}

bool CopyPlanner::next(CopyItem& item) {
  while (position_ < walk_.size()) {
    const CopyPiece piece = walk_.at(position_);
    item.begin = position_;
    item.pieces.clear();
    item.failures.clear();
    const bool has_whole_units = whole_units_end(piece) > position_;
    const Cloner::Verdict verdict = verdict_on(piece);
    if (has_whole_units &&
        (piece.content != Content::copy || verdict == Cloner::Verdict::possible)) {
      if (plan_run(piece, item)) return true;
      continue;
    }
    const bool is_trial = has_whole_units && verdict == Cloner::Verdict::untried;
    // A limited copy's chunks may be smaller than a trial is elsewhere.
    const std::uint64_t trial_bytes = std::max(kTrialBytes, shape_.unit_bytes);
    plan_chunk(item, is_trial ? std::min(trial_bytes, shape_.chunk_bytes) : shape_.chunk_bytes);
    return true;
  }
  return false;
}

// The end of the piece's last whole unit; the last unit of all may be a short one, but where blocks
// are shared only if the target ends with it.
std::uint64_t CopyPlanner::whole_units_end(const CopyPiece& piece) const noexcept {
  const bool may_be_short = piece.content != Content::copy || walk_.size() == shape_.target_bytes;
  if (piece.end == walk_.size() && may_be_short) return piece.end;
  return align_down(piece.end, shape_.unit_bytes);
}

Cloner::Verdict CopyPlanner::verdict_on(const CopyPiece& piece) const {
  if (!shape_.may_clone || piece.storage == nullptr ||
      !is_aligned(piece.host_offset, Cloner::kAlignment)) {
    return Cloner::Verdict::impossible;
  }
  return cloner_.verdict(piece.storage);
}

// Whole units that no bytes have to be read of. False: there is nothing to do for them at all.
bool CopyPlanner::plan_run(const CopyPiece& piece, CopyItem& item) {
  const std::uint64_t end = whole_units_end(piece);
  if (piece.content == Content::skip || (piece.content == Content::zero && !shape_.writes_zeroes)) {
    position_ = end;
    return false;
  }
  const bool is_zero = piece.content == Content::zero;
  item.kind = is_zero ? CopyItem::Kind::zero : CopyItem::Kind::clone;
  item.end = std::min(end, position_ + (is_zero ? kZeroBytesMax : shape_.clone_bytes));
  item.pieces.push_back(piece);
  position_ = item.end;
  return true;
}

// True if a chunk that reaches the piece had better end with the unit that it begins in: nothing of
// it is read further on, or its blocks are shared.
bool CopyPlanner::ends_chunk(const CopyPiece& piece, std::uint64_t at,
                             std::uint64_t chunk_end) const {
  if (piece.content != Content::copy) return piece.end >= chunk_end;
  return verdict_on(piece) == Cloner::Verdict::possible &&
         whole_units_end(piece) >= align_up(at, shape_.unit_bytes) + kLeastCloneBytes;
}

// Bytes to be read: up to the chunk's end, or to where a run begins that need not be read.
void CopyPlanner::plan_chunk(CopyItem& item, std::uint64_t chunk_bytes) {
  item.kind = CopyItem::Kind::data;
  std::uint64_t end = std::min(align_down(position_, chunk_bytes) + chunk_bytes, walk_.size());
  for (std::uint64_t at = position_; at < end; at = item.pieces.back().end) {
    CopyPiece piece = walk_.at(at);
    if (at > position_ && ends_chunk(piece, at, end)) {
      end = std::min(end, align_up(at, shape_.unit_bytes));
      if (at == end) break;
    }
    piece.end = std::min(piece.end, end);
    append(item.pieces, piece);
  }
  item.end = end;
  position_ = end;
}

}  // namespace qcowkit
