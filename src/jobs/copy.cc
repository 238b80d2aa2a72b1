// Copies images: reads in parallel, and writes so that the target lies in order.
#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "base/checked.h"
#include "base/sector.h"
#include "base/worker_pool.h"
#include "base/zero_detect.h"
#include "jobs/copy_planner.h"
#include "jobs/progress.h"
#include "jobs/rate_limit.h"
#include "qcowkit/jobs.h"

namespace qcowkit {

namespace {

/// So much of a copy's beginning is copied by one thread, unless it is all of it.
constexpr std::uint64_t kBytesAloneMax = 256 << 10;

/// Each item is planned by one thread at a time, prepared by many at once (read, searched for
/// zeroes, compressed) and written either one by one, in guest order, or by whoever prepared it.
class CopyJob {
 public:
  CopyJob(const CopyRequest& request, Image& target)
      : options_(request.options),
        shape_(request, target),
        target_(target),
        planner_(request, shape_, cloner_) {}

  std::uint64_t total_bytes() const noexcept { return planner_.total_bytes(); }
  void run();

 private:
  void prepare(CopyItem& item) const;
  void read(CopyItem& item) const;
  void read_piece(const CopyPiece& piece, std::uint64_t begin, std::uint64_t end,
                  CopyItem& item) const;
  void find_zeroes(CopyItem& item) const;
  void compress(CopyItem& item) const;

  void write(CopyItem& item);
  void write_data(CopyItem& item);
  void write_run(CopyItem& item, const UnitSpan& span);
  void write_compressed(CopyItem& item);
  bool is_worth_a_try(const CopyPiece& piece, const UnitSpan& span) const;

  // Constant after construction, but for the planner (one thread at a time) and the cloner
  // (thread-safe).
  const CopyOptions& options_;
  const CopyShape shape_;
  Image& target_;
  Cloner cloner_;
  CopyPlanner planner_;
};

std::span<std::byte> bytes_of(CopyItem& item, std::uint64_t begin, std::uint64_t end) {
  return item.buffer.span().subspan(begin - item.begin, end - begin);
}

std::uint64_t moved_bytes_at_most(const CopyItem& item) {
  return item.kind == CopyItem::Kind::data ? item.end - item.begin : 0;
}

/// What a rate limit counts.
std::uint64_t moved_bytes(const CopyItem& item) {
  if (item.kind == CopyItem::Kind::zero) return 0;
  if (item.kind == CopyItem::Kind::clone) return item.end - item.begin;
  std::uint64_t bytes = 0;
  for (const UnitSpan& span : item.spans) {
    if (span.content == Content::copy) bytes += span.end - span.begin;
  }
  return bytes;
}

void CopyJob::run() {
  ProgressMeter progress(options_.progress, total_bytes());
  RateLimit limit(options_.bytes_per_second, options_.stop);
  const auto process = [&](CopyItem& item) {
    prepare(item);
    if (!shape_.in_order) write(item);
  };
  const auto consume = [&](CopyItem& item) {
    if (shape_.in_order) write(item);
    for (const ReadFailure& failure : item.failures) {
      options_.on_read_error(failure.target_offset, failure.error);
    }
    limit.wait_after(moved_bytes(item));
    progress.advance_to(item.end);
    return true;
  };
  // What moves few bytes or none is done sooner than a thread is started. For a copy that shares
  // all its blocks that is everything.
  const std::uint64_t bytes_alone_max =
      total_bytes() <= shape_.chunk_bytes ? total_bytes() : kBytesAloneMax;
  std::uint64_t bytes_alone = 0;
  std::optional<CopyItem> first_large;
  parallel_for_ordered<CopyItem>(
      {.workers = 1, .stop = options_.stop},
      [&](CopyItem& item) {
        if (!planner_.next(item)) return false;
        bytes_alone += moved_bytes_at_most(item);
        if (bytes_alone <= bytes_alone_max) return true;
        first_large = std::move(item);
        return false;
      },
      process, consume);
  if (first_large) {
    parallel_for_ordered<CopyItem>(
        {.workers = options_.workers, .stop = options_.stop},
        [&](CopyItem& item) {
          if (!first_large) return planner_.next(item);
          item = *std::exchange(first_large, std::nullopt);
          return true;
        },
        process, consume);
  }
  progress.finish();
}

void CopyJob::prepare(CopyItem& item) const {
  if (item.kind != CopyItem::Kind::data) return;
  if (item.buffer.size() == 0) item.buffer = Buffer(shape_.chunk_bytes);
  cut_into_units(item.pieces, shape_.unit_bytes, item.spans);
  read(item);
  if (shape_.zero_run_bytes != 0) find_zeroes(item);
  if (options_.compress) compress(item);
}

// Fills the buffer where spans are copied. Within them a piece that the backing file provides is
// read from the source, which has the same bytes.
void CopyJob::read(CopyItem& item) const {
  auto piece = item.pieces.begin();
  for (const UnitSpan& span : item.spans) {
    if (span.content != Content::copy) continue;
    for (std::uint64_t at = span.begin; at < span.end;) {
      while (piece->end <= at) ++piece;
      const std::uint64_t end = std::min(piece->end, span.end);
      if (piece->content == Content::zero) {
        const std::span<std::byte> into = bytes_of(item, at, end);
        std::memset(into.data(), 0, into.size());
      } else {
        read_piece(*piece, at, end, item);
      }
      at = end;
    }
  }
}

// What cannot be read ends the copy, or is noted and taken for zeroes.
void CopyJob::read_piece(const CopyPiece& piece, std::uint64_t begin, std::uint64_t end,
                         CopyItem& item) const {
  const std::span<std::byte> into = bytes_of(item, begin, end);
  const std::uint64_t source_offset = piece.source_offset + (begin - piece.begin);
  try {
    piece.source->read(source_offset, into);
    return;
  } catch (const Error&) {
    if (!options_.on_read_error) throw;
  }
  // Which sectors it is shows when each is read by itself.
  for (std::uint64_t done = 0; done < into.size();) {
    const std::uint64_t in_sector = (source_offset + done) % kSectorBytes;
    const std::span<std::byte> sector =
        into.subspan(done, std::min(kSectorBytes - in_sector, into.size() - done));
    try {
      piece.source->read(source_offset + done, sector);
    } catch (const Error& error) {
      std::memset(sector.data(), 0, sector.size());
      item.failures.push_back({begin + done, error});
    }
    done += sector.size();
  }
}

// Takes the runs of zeroes that are long enough out of the spans that are copied.
void CopyJob::find_zeroes(CopyItem& item) const {
  item.searched.clear();
  for (const UnitSpan& span : item.spans) {
    if (span.content != Content::copy) {
      item.searched.push_back(span);
      continue;
    }
    const auto unit_end = [&](std::uint64_t at) {
      return std::min(at + shape_.unit_bytes, span.end);
    };
    std::uint64_t data_begin = span.begin;
    for (std::uint64_t at = span.begin; at < span.end; at = unit_end(at)) {
      const std::uint64_t zero_begin = at;
      while (at < span.end && is_zero(bytes_of(item, at, unit_end(at)))) at = unit_end(at);
      if (at == zero_begin) continue;
      // The last unit of all may be a short one.
      if (align_up(at, shape_.unit_bytes) - zero_begin < shape_.zero_run_bytes) continue;
      if (zero_begin > data_begin) {
        item.searched.push_back({data_begin, zero_begin, Content::copy});
      }
      item.searched.push_back({zero_begin, at, Content::zero});
      data_begin = at;
    }
    if (data_begin < span.end) item.searched.push_back({data_begin, span.end, Content::copy});
  }
  item.spans.swap(item.searched);
}

void CopyJob::compress(CopyItem& item) const {
  const std::uint64_t cluster_bytes = target_.cluster_size();
  item.compressed.clear();
  for (const UnitSpan& span : item.spans) {
    if (span.content != Content::copy) continue;
    for (std::uint64_t at = span.begin; at < span.end; at += cluster_bytes) {
      // The buffer has room for the last cluster, however short it is.
      const std::span<std::byte> cluster = bytes_of(item, at, at + cluster_bytes);
      const std::uint64_t length_bytes = std::min(cluster_bytes, span.end - at);
      std::memset(cluster.data() + length_bytes, 0, cluster_bytes - length_bytes);
      item.compressed.push_back(target_.compress(cluster, options_.compression_level));
    }
  }
}

void CopyJob::write(CopyItem& item) {
  const std::uint64_t length_bytes = item.end - item.begin;
  switch (item.kind) {
    case CopyItem::Kind::data:
      return options_.compress ? write_compressed(item) : write_data(item);
    case CopyItem::Kind::zero:
      return target_.write_zeroes(item.begin, length_bytes, true);
    case CopyItem::Kind::clone: {
      const CopyPiece& piece = item.pieces.front();
      return cloner_.move({piece.source, piece.source_offset, item.begin, length_bytes}, target_,
                          {});
    }
  }
}

void CopyJob::write_data(CopyItem& item) {
  for (const UnitSpan& span : item.spans) {
    if (span.content == Content::copy) {
      write_run(item, span);
    } else if (span.content == Content::zero && shape_.writes_zeroes) {
      target_.write_zeroes(span.begin, span.end - span.begin, true);
    }
  }
}

void CopyJob::write_run(CopyItem& item, const UnitSpan& span) {
  const std::span<const std::byte> bytes = bytes_of(item, span.begin, span.end);
  const auto piece = std::find_if(item.pieces.begin(), item.pieces.end(),
                                  [&](const CopyPiece& p) { return p.end > span.begin; });
  if (!is_worth_a_try(*piece, span)) return target_.write(span.begin, bytes);
  const std::uint64_t source_offset = piece->source_offset + (span.begin - piece->begin);
  cloner_.move({piece->source, source_offset, span.begin, bytes.size()}, target_, bytes);
}

// True where sharing blocks is to be tried with this run, so that it is known for what follows.
bool CopyJob::is_worth_a_try(const CopyPiece& piece, const UnitSpan& span) const {
  return shape_.may_clone && piece.storage != nullptr && piece.begin <= span.begin &&
         piece.end >= span.end &&
         is_aligned(piece.host_offset + (span.begin - piece.begin), Cloner::kAlignment) &&
         (is_aligned(span.end, shape_.unit_bytes) || span.end == target_.virtual_size()) &&
         cloner_.verdict(piece.storage) == Cloner::Verdict::untried;
}

void CopyJob::write_compressed(CopyItem& item) {
  const std::uint64_t cluster_bytes = target_.cluster_size();
  auto compressed = item.compressed.begin();
  for (const UnitSpan& span : item.spans) {
    if (span.content == Content::zero && shape_.writes_zeroes) {
      target_.write_zeroes(span.begin, span.end - span.begin, true);
    }
    if (span.content != Content::copy) continue;
    for (std::uint64_t at = span.begin; at < span.end; at += cluster_bytes, ++compressed) {
      const std::uint64_t end = std::min(at + cluster_bytes, span.end);
      const std::span<const std::byte> plain = bytes_of(item, at, end);
      if (plain.size() == cluster_bytes || end == target_.virtual_size()) {
        target_.write_compressed(at, *compressed, plain);
      } else {
        target_.write(at, plain);  // The rest of this cluster is not the copy's.
      }
    }
  }
}

void check_request(const CopyRequest& request, const Image& target) {
  const CopyOptions& options = request.options;
  if (options.compress && target.cluster_size() == 0) {
    throw Error(Errc::unsupported, "Compression not supported for this file format");
  }
  const bool has_one_source = request.sources.size() == 1;
  if (options.target_has_backing && !has_one_source) {
    throw Error(Errc::invalid_argument,
                "Having a backing file for the target makes no sense when concatenating multiple "
                "input images");
  }
  if ((options.source_offset_bytes != 0 || options.length_bytes) && !has_one_source) {
    throw Error(Errc::invalid_argument, "Only one source can be copied in part");
  }
  if (options.shared_base != nullptr && !options.target_has_backing) {
    throw Error(Errc::invalid_argument, "A shared base needs a target with a backing file");
  }
}

}  // namespace

void run_copy(const CopyRequest& request, Image& target) {
  check_request(request, target);
  CopyJob job(request, target);
  if (job.total_bytes() > target.virtual_size()) {
    throw Error(Errc::invalid_argument, "output file is smaller than input file");
  }
  job.run();
}

void copy(const std::vector<Image*>& sources, Image& target, const CopyOptions& options) {
  run_copy({.sources = sources, .options = options}, target);
}

}  // namespace qcowkit
