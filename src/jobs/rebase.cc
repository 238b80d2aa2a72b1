// Gives an image another backing file without changing what its guest reads.
#include <algorithm>
#include <cstring>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/worker_pool.h"
#include "base/zero_detect.h"
#include "jobs/progress.h"
#include "jobs/rebase_plan.h"
#include "qcowkit/jobs.h"

namespace qcowkit {

namespace {

/// Two buffers of this size stay in the processor's cache.
constexpr std::uint64_t kChunkBytes = 256 << 10;
constexpr std::uint64_t kSubclusters = 32;
/// Of images without clusters of their own.
constexpr std::uint64_t kUnitBytes = 4096;

/// A run of guest bytes [begin, end) that is to be merged into the image.
struct Merge {
  std::uint64_t begin;
  std::uint64_t end;
  bool is_zero;
};

/// A range to be looked at. Reused from step to step, so that its memory is allocated once.
struct RebaseItem {
  std::vector<RebasePiece> pieces;
  std::vector<Merge> merges;
  std::vector<CompressedCluster> compressed;  ///< of the merges that are data, cluster by cluster
  Buffer old_bytes;
  Buffer new_bytes;

  std::uint64_t begin() const noexcept { return pieces.front().begin; }
  std::uint64_t end() const noexcept { return pieces.back().end; }
  std::span<std::byte> old_at(std::uint64_t from, std::uint64_t to) {
    return old_bytes.span().subspan(from - begin(), to - from);
  }
  std::span<std::byte> new_at(std::uint64_t from, std::uint64_t to) {
    return new_bytes.span().subspan(from - begin(), to - from);
  }
};

/// What is compared, and merged, as a whole.
std::uint64_t unit_for(const Image& image, bool compress) {
  const std::uint64_t cluster_bytes = image.cluster_size();
  if (cluster_bytes == 0) return kUnitBytes;
  const ImageInfo info = image.info();
  const bool has_subclusters = info.qcow2 && info.qcow2->extended_l2;
  return has_subclusters && !compress ? cluster_bytes / kSubclusters : cluster_bytes;
}

class RebaseJob {
 public:
  RebaseJob(Image& image, Image* new_backing, const RebaseOptions& options)
      : image_(image),
        options_(options),
        names_backing_file_(!image.info().backing_file.empty()),
        unit_bytes_(unit_for(image, options.compress)),
        chunk_bytes_(std::max(kChunkBytes, image.cluster_size())),
        planner_(image, new_backing, unit_bytes_, chunk_bytes_) {}

  void run();

 private:
  void prepare(RebaseItem& item) const;
  void read(RebaseItem& item) const;
  void find_differences(RebaseItem& item) const;
  void compress(RebaseItem& item) const;
  void write(RebaseItem& item);
  void write_zeroes(const Merge& merge);
  void write_compressed(const Merge& merge, RebaseItem& item,
                        std::vector<CompressedCluster>::const_iterator& compressed);
  bool is_whole_cluster(std::uint64_t begin, std::uint64_t end) const;
  void switch_backing_file();

  Image& image_;
  const RebaseOptions& options_;
  const bool names_backing_file_;
  const std::uint64_t unit_bytes_;
  const std::uint64_t chunk_bytes_;
  RebasePlanner planner_;
  std::vector<Merge> zeroes_as_data_;
};

void RebaseJob::run() {
  ProgressMeter progress(options_.progress, image_.virtual_size());
  parallel_for_ordered<RebaseItem>(
      {.workers = options_.workers, .stop = options_.stop},
      [&](RebaseItem& item) { return planner_.next(item.pieces); },
      [&](RebaseItem& item) { prepare(item); },
      [&](RebaseItem& item) {
        write(item);
        progress.advance_to(item.end());
        return true;
      });
  switch_backing_file();
  progress.finish();
}

void RebaseJob::prepare(RebaseItem& item) const {
  if (item.old_bytes.size() == 0) {
    item.old_bytes = Buffer(chunk_bytes_);
    item.new_bytes = Buffer(chunk_bytes_);
  }
  read(item);
  find_differences(item);
  if (options_.compress) compress(item);
}

void RebaseJob::read(RebaseItem& item) const {
  // Neighbours that are stored alike are read with one request.
  const auto read_side = [&](const BackingSide& side, bool RebasePiece::*is_zero, auto bytes_at) {
    for (auto piece = item.pieces.begin(); piece != item.pieces.end();) {
      const auto first = piece;
      while (piece != item.pieces.end() && (*piece).*is_zero == (*first).*is_zero) ++piece;
      const std::span<std::byte> into = bytes_at(first->begin, std::prev(piece)->end);
      if ((*first).*is_zero) {
        std::memset(into.data(), 0, into.size());
      } else {
        side.read(first->begin, into);
      }
    }
  };
  read_side(planner_.old_side(), &RebasePiece::old_is_zero,
            [&](std::uint64_t begin, std::uint64_t end) { return item.old_at(begin, end); });
  read_side(planner_.new_side(), &RebasePiece::new_is_zero,
            [&](std::uint64_t begin, std::uint64_t end) { return item.new_at(begin, end); });
}

void RebaseJob::find_differences(RebaseItem& item) const {
  item.merges.clear();
  for (std::uint64_t at = item.begin(); at < item.end();) {
    const std::uint64_t end = std::min(align_down(at, unit_bytes_) + unit_bytes_, item.end());
    const std::span<const std::byte> old_bytes = item.old_at(at, end);
    if (std::memcmp(old_bytes.data(), item.new_at(at, end).data(), old_bytes.size()) != 0) {
      const bool zero = is_zero(old_bytes);
      const bool joins = !item.merges.empty() && item.merges.back().end == at &&
                         item.merges.back().is_zero == zero;
      if (joins) {
        item.merges.back().end = end;
      } else {
        item.merges.push_back({at, end, zero});
      }
    }
    at = end;
  }
}

bool RebaseJob::is_whole_cluster(std::uint64_t begin, std::uint64_t end) const {
  const std::uint64_t cluster_bytes = image_.cluster_size();
  return is_aligned(begin, cluster_bytes) &&
         (end - begin == cluster_bytes || end == image_.virtual_size());
}

void RebaseJob::compress(RebaseItem& item) const {
  const std::uint64_t cluster_bytes = image_.cluster_size();
  item.compressed.clear();
  for (const Merge& merge : item.merges) {
    if (merge.is_zero) continue;
    for (std::uint64_t at = merge.begin; at < merge.end;) {
      const std::uint64_t end = std::min(align_down(at, unit_bytes_) + unit_bytes_, merge.end);
      CompressedCluster stored;
      if (is_whole_cluster(at, end)) {
        // The buffer has room for the last cluster, however short it is.
        const std::span<std::byte> cluster =
            item.old_bytes.span().subspan(at - item.begin(), cluster_bytes);
        std::memset(cluster.data() + (end - at), 0, cluster_bytes - (end - at));
        stored = image_.compress(cluster, options_.compression_level);
      }
      item.compressed.push_back(std::move(stored));
      at = end;
    }
  }
}

void RebaseJob::write(RebaseItem& item) {
  auto compressed = item.compressed.cbegin();
  for (const Merge& merge : item.merges) {
    if (merge.is_zero) {
      write_zeroes(merge);
    } else if (options_.compress) {
      write_compressed(merge, item, compressed);
    } else {
      image_.write(merge.begin, item.old_at(merge.begin, merge.end));
    }
  }
}

// An image that names no backing file keeps no note of zeroes in clusters that it does not have.
// Until it has one, they are data.
void RebaseJob::write_zeroes(const Merge& merge) {
  if (names_backing_file_) {
    image_.write_zeroes(merge.begin, merge.end - merge.begin, true);
    return;
  }
  const std::vector<std::byte> zeroes(std::min(merge.end - merge.begin, kChunkBytes));
  for (std::uint64_t at = merge.begin; at < merge.end; at += zeroes.size()) {
    image_.write(at,
                 std::span(zeroes).first(std::min<std::uint64_t>(zeroes.size(), merge.end - at)));
  }
  if (!zeroes_as_data_.empty() && zeroes_as_data_.back().end == merge.begin) {
    zeroes_as_data_.back().end = merge.end;
  } else {
    zeroes_as_data_.push_back(merge);
  }
}

void RebaseJob::write_compressed(const Merge& merge, RebaseItem& item,
                                 std::vector<CompressedCluster>::const_iterator& compressed) {
  for (std::uint64_t at = merge.begin; at < merge.end; ++compressed) {
    const std::uint64_t end = std::min(align_down(at, unit_bytes_) + unit_bytes_, merge.end);
    const std::span<const std::byte> plain = item.old_at(at, end);
    if (is_whole_cluster(at, end)) {
      image_.write_compressed(at, *compressed, plain);
    } else {
      image_.write(at, plain);  // The rest of this cluster is the image's own.
    }
    at = end;
  }
}

void RebaseJob::switch_backing_file() {
  image_.flush();
  AmendOptions changes;
  changes.backing_file = options_.backing_file;
  changes.backing_format = options_.backing_format;
  image_.amend(changes);
  for (const Merge& merge : zeroes_as_data_) {
    image_.write_zeroes(merge.begin, merge.end - merge.begin, true);
  }
  image_.flush();
}

}  // namespace

void rebase(Image& image, Image* new_backing, const RebaseOptions& options) {
  if (options.compress && image.cluster_size() == 0) {
    throw Error(Errc::unsupported, "Compression not supported for this file format");
  }
  RebaseJob(image, new_backing, options).run();
}

}  // namespace qcowkit
