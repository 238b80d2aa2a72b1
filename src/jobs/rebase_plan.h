// Where an image would read differently over another backing file: the "map" half of a rebase.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "jobs/extent_walk.h"

namespace qcowkit {

/// How many images the two chains share, counted from their ends: the same files, read in the same
/// way.
std::size_t count_common_images(Image* chain, Image* other);

/// One backing chain, or none. It reads as zeroes behind its end. Used by one thread at a time.
class BackingSide {
 public:
  /// The last `common_images` images of the chain are the other side's as well.
  BackingSide(Image* image, std::size_t common_images);

  enum class Content : std::uint8_t { common, zero, data };
  struct Run {
    Content content;
    std::uint64_t length_bytes;
  };
  /// What starts at `guest_offset`.
  Run at(std::uint64_t guest_offset);
  /// The same, where the other side has something else than the common images.
  Run resolved_at(std::uint64_t guest_offset);

  /// Fills `into` from `guest_offset` on. Thread-safe.
  void read(std::uint64_t guest_offset, std::span<std::byte> into) const;

 private:
  Image* image_;  ///< null: none
  std::uint64_t size_;
  std::optional<std::uint32_t> common_depth_;
  std::optional<ExtentWalk> above_;  ///< of the images above the common ones
  std::optional<ExtentWalk> all_;
};

/// A run of guest bytes [begin, end) that both sides have to be read for, or one of them.
struct RebasePiece {
  std::uint64_t begin;
  std::uint64_t end;
  bool old_is_zero;
  bool new_is_zero;
};

/// Hands out the ranges in which an image leaves its bytes to the backing file and the two sides
/// may differ. Used by one thread at a time.
class RebasePlanner {
 public:
  /// Ranges are at most `chunk_bytes` long, a multiple of `unit_bytes`; they end where `image`'s
  /// unallocated runs end or at multiples of `unit_bytes`.
  RebasePlanner(Image& image, Image* new_backing, std::uint64_t unit_bytes,
                std::uint64_t chunk_bytes);

  /// Replaces `pieces` by the next range; false: there is none.
  bool next(std::vector<RebasePiece>& pieces);

  const BackingSide& old_side() const noexcept { return old_; }
  const BackingSide& new_side() const noexcept { return new_; }

 private:
  struct Comparison {
    RebasePiece piece;
    bool is_same;
  };
  bool find_unallocated();
  Comparison compare_at(std::uint64_t guest_offset);
  std::uint64_t whole_units_end(std::uint64_t guest_offset) const noexcept;

  Image& image_;
  const std::uint64_t unit_bytes_;
  const std::uint64_t chunk_bytes_;
  const std::size_t common_images_;
  BackingSide old_;
  BackingSide new_;
  std::uint64_t position_ = 0;
  std::uint64_t unallocated_end_ = 0;  ///< the image has no bytes of its own up to here
};

}  // namespace qcowkit
