// Which parts of the sources go where in the target, and how: the "map" half of a copy.
#include "jobs/copy_plan.h"

#include <algorithm>

#include "base/checked.h"

namespace qcowkit {

namespace {

std::uint32_t depth_in_chain(Image* image, const Image* wanted) {
  std::uint32_t depth = 0;
  for (; image != nullptr; image = image->backing(), ++depth) {
    if (image == wanted) return depth;
  }
  throw Error(Errc::invalid_argument, "The shared base is not in the source's backing chain");
}

void append(std::vector<UnitSpan>& spans, const UnitSpan& span) {
  if (span.begin >= span.end) return;
  if (!spans.empty() && spans.back().content == span.content) {
    spans.back().end = span.end;
  } else {
    spans.push_back(span);
  }
}

}  // namespace

SourceWalk::SourceWalk(const CopyRequest& request)
    : asks_for_holes_(request.options.sparse_bytes != 0),
      is_commit_(request.is_commit),
      shared_base_(request.options.shared_base) {
  const CopyOptions& options = request.options;
  if (shared_base_ != nullptr) shared_depth_ = depth_in_chain(request.sources.at(0), shared_base_);
  if (options.source_offset_bytes == 0 && !options.length_bytes) {
    for (Image* const source : request.sources) add_source(*source, 0, source->virtual_size());
    return;
  }
  Image& source = *request.sources.at(0);
  const std::uint64_t skipped = std::min(options.source_offset_bytes, source.virtual_size());
  const std::uint64_t rest = source.virtual_size() - skipped;
  add_source(source, skipped, std::min(rest, options.length_bytes.value_or(rest)));
}

void SourceWalk::add_source(Image& source, std::uint64_t skipped_bytes,
                            std::uint64_t length_bytes) {
  const std::uint64_t begin = size_;
  const auto sum = checked_add(size_, length_bytes);
  if (!sum) throw Error(Errc::limit_exceeded, "The sources together are larger than any disk");
  size_ = *sum;
  if (length_bytes == 0) return;
  const Image* const below = is_commit_ ? shared_base_ : nullptr;
  sources_.push_back(
      {ExtentWalk(source, HoleSearch::everywhere, below), begin, size_, skipped_bytes});
}

CopyPiece SourceWalk::at(std::uint64_t offset) {
  while (offset >= sources_[current_].end) ++current_;
  Source& source = sources_[current_];
  CopyPiece piece{.begin = offset,
                  .end = source.end,
                  .source = &source.walk.image(),
                  .source_offset = offset - source.begin + source.skipped_bytes};
  if (!asks_for_holes_ && !shared_depth_) return piece;

  const StoredRun run = source.walk.at(piece.source_offset);
  piece.content = content_of(run);
  piece.end = std::min(offset + run.length_bytes, source.end);
  if (piece.content == Content::copy && run.kind == ExtentKind::data && run.has_host_offset) {
    piece.storage = run.storage;
    piece.host_offset = run.host_offset;
  }
  return piece;
}

Content SourceWalk::content_of(const StoredRun& run) const noexcept {
  if (shared_depth_ && run.depth >= *shared_depth_) return Content::skip;
  // An image between that ends earlier hides the target's bytes behind its end.
  if (is_commit_ && run.kind == ExtentKind::unallocated && run.depth + 1 == *shared_depth_) {
    return Content::skip;
  }
  return asks_for_holes_ && run.reads_as_zeroes() ? Content::zero : Content::copy;
}

void cut_into_units(const std::vector<CopyPiece>& pieces, std::uint64_t unit_bytes,
                    std::vector<UnitSpan>& spans) {
  spans.clear();
  if (pieces.empty()) return;
  const std::uint64_t whole_end = pieces.back().end;
  std::uint64_t done = pieces.front().begin;
  for (auto piece = pieces.begin(); piece != pieces.end();) {
    // Pieces of one content behind each other count as one.
    const Content content = piece->content;
    const std::uint64_t begin = piece->begin;
    while (piece != pieces.end() && piece->content == content) ++piece;
    const std::uint64_t end = piece == pieces.end() ? whole_end : piece->begin;

    // What is before the first and behind the last whole unit belongs to units of mixed content.
    const bool is_copy = content == Content::copy;
    const std::uint64_t inner_begin = is_copy ? done : align_up(begin, unit_bytes);
    const std::uint64_t inner_end = is_copy ? std::min(align_up(end, unit_bytes), whole_end)
                                    : end == whole_end ? whole_end
                                                       : align_down(end, unit_bytes);
    if (inner_begin >= inner_end || inner_end <= done) continue;
    const std::uint64_t first = std::max(done, inner_begin);
    append(spans, {done, first, Content::copy});
    append(spans, {first, inner_end, content});
    done = inner_end;
  }
  // A last unit of several contents, none of which fills it.
  append(spans, {done, whole_end, Content::copy});
}

}  // namespace qcowkit
