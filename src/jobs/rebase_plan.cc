// Where an image would read differently over another backing file: the "map" half of a rebase.
#include "jobs/rebase_plan.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>

#include "base/checked.h"

namespace qcowkit {

namespace {

constexpr std::uint64_t kEndless = std::numeric_limits<std::uint64_t>::max();

bool is_same_image(const Image& a, const Image& b) {
  if (&a == &b) return true;
  std::error_code ignored;
  return a.format() == b.format() && a.virtual_size() == b.virtual_size() &&
         a.cluster_size() == b.cluster_size() && a.is_encrypted() == b.is_encrypted() &&
         std::filesystem::equivalent(a.filename(), b.filename(), ignored);
}

std::vector<Image*> images_of(Image* chain) {
  std::vector<Image*> images;
  for (; chain != nullptr; chain = chain->backing()) images.push_back(chain);
  return images;
}

}  // namespace

std::size_t count_common_images(Image* chain, Image* other) {
  const std::vector<Image*> images = images_of(chain);
  const std::vector<Image*> others = images_of(other);
  std::size_t count = 0;
  while (count < images.size() && count < others.size() &&
         is_same_image(*images[images.size() - 1 - count], *others[others.size() - 1 - count])) {
    ++count;
  }
  return count;
}

BackingSide::BackingSide(Image* image, std::size_t common_images)
    : image_(image), size_(image == nullptr ? 0 : image->virtual_size()) {
  if (image == nullptr) return;
  all_.emplace(*image, HoleSearch::everywhere);
  if (common_images == 0) return;
  const std::vector<Image*> images = images_of(image);
  const std::size_t depth = images.size() - common_images;
  common_depth_ = static_cast<std::uint32_t>(depth);
  if (depth > 0) above_.emplace(*image, HoleSearch::everywhere, images[depth]);
}

BackingSide::Run BackingSide::at(std::uint64_t guest_offset) {
  if (!common_depth_) return resolved_at(guest_offset);
  if (*common_depth_ == 0) return {Content::common, kEndless - guest_offset};
  if (guest_offset >= size_) return {Content::zero, kEndless - guest_offset};
  const StoredRun run = above_->at(guest_offset);
  if (run.kind == ExtentKind::unallocated && run.depth + 1 == *common_depth_) {
    return {Content::common, run.length_bytes};
  }
  return {run.reads_as_zeroes() ? Content::zero : Content::data, run.length_bytes};
}

BackingSide::Run BackingSide::resolved_at(std::uint64_t guest_offset) {
  if (guest_offset >= size_) return {Content::zero, kEndless - guest_offset};
  const StoredRun run = all_->at(guest_offset);
  return {run.reads_as_zeroes() ? Content::zero : Content::data, run.length_bytes};
}

void BackingSide::read(std::uint64_t guest_offset, std::span<std::byte> into) const {
  const std::uint64_t inside =
      guest_offset >= size_ ? 0 : std::min<std::uint64_t>(into.size(), size_ - guest_offset);
  if (inside > 0) image_->read(guest_offset, into.first(inside));
  if (inside < into.size()) std::memset(into.data() + inside, 0, into.size() - inside);
}

RebasePlanner::RebasePlanner(Image& image, Image* new_backing, std::uint64_t unit_bytes,
                             std::uint64_t chunk_bytes)
    : image_(image),
      unit_bytes_(unit_bytes),
      chunk_bytes_(chunk_bytes),
      common_images_(count_common_images(image.backing(), new_backing)),
      old_(image.backing(), common_images_),
      new_(new_backing, common_images_) {}

bool RebasePlanner::next(std::vector<RebasePiece>& pieces) {
  pieces.clear();
  while (find_unallocated()) {
    const Comparison first = compare_at(position_);
    const std::uint64_t same_end = first.is_same ? whole_units_end(first.piece.end) : position_;
    if (same_end > position_) {
      position_ = same_end;
      continue;
    }
    const std::uint64_t chunk_end = align_down(position_, chunk_bytes_) + chunk_bytes_;
    std::uint64_t end = std::min(chunk_end, unallocated_end_);
    for (std::uint64_t at = position_; at < end; at = pieces.back().end) {
      Comparison found = compare_at(at);
      const std::uint64_t next_unit = align_up(at, unit_bytes_);
      // Whole units that are the same need no look.
      if (found.is_same && whole_units_end(found.piece.end) > next_unit) {
        end = std::min(end, next_unit);
        if (at == end) break;
      }
      found.piece.end = std::min(found.piece.end, end);
      pieces.push_back(found.piece);
    }
    position_ = end;
    return true;
  }
  return false;
}

/// Takes the position to where the image has no bytes of its own; false: to its end.
bool RebasePlanner::find_unallocated() {
  const std::uint64_t size = image_.virtual_size();
  while (position_ >= unallocated_end_ && position_ < size) {
    const Extent extent = image_.map_layer(position_, size - position_);
    if (extent.kind == ExtentKind::unallocated) {
      unallocated_end_ = position_ + extent.length_bytes;
    } else {
      position_ += extent.length_bytes;
    }
  }
  return position_ < size;
}

RebasePlanner::Comparison RebasePlanner::compare_at(std::uint64_t guest_offset) {
  using Content = BackingSide::Content;
  BackingSide::Run old_run = old_.at(guest_offset);
  BackingSide::Run new_run = new_.at(guest_offset);
  const bool are_common = old_run.content == Content::common && new_run.content == Content::common;
  if (!are_common && old_run.content == Content::common) old_run = old_.resolved_at(guest_offset);
  if (!are_common && new_run.content == Content::common) new_run = new_.resolved_at(guest_offset);
  const bool old_is_zero = old_run.content == Content::zero;
  const bool new_is_zero = new_run.content == Content::zero;
  const std::uint64_t length_bytes =
      std::min({old_run.length_bytes, new_run.length_bytes, unallocated_end_ - guest_offset});
  return {.piece = {guest_offset, guest_offset + length_bytes, old_is_zero, new_is_zero},
          .is_same = are_common || (old_is_zero && new_is_zero)};
}

std::uint64_t RebasePlanner::whole_units_end(std::uint64_t guest_offset) const noexcept {
  return guest_offset >= unallocated_end_ ? unallocated_end_
                                          : align_down(guest_offset, unit_bytes_);
}

}  // namespace qcowkit
