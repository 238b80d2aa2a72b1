// The bits of one dirty bitmap in memory: sparse, and marked without a lock. No I/O.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/checked.h"
#include "base/offsets.h"
#include "qcowkit/info.h"

namespace qcowkit::qcow2 {

/// One bit for each granule of the disk; the last granule may reach beyond the disk's end.
///
/// `mark` and the const functions may be called from any number of threads at once. What is said to
/// be exclusive may not run beside anything else. Only parts in which clear and set bits mix take
/// memory: 4 KiB for each 32768 granules.
class BitmapBits {
 public:
  /// All bits are clear.
  BitmapBits(std::uint64_t disk_bytes, std::uint32_t granularity_bits);
  ~BitmapBits();
  BitmapBits(const BitmapBits&) = delete;
  BitmapBits& operator=(const BitmapBits&) = delete;

  /// Sets the bits of all granules that the range touches. What lies behind the disk's end is
  /// ignored. Lock-free; the first mark in a part of the disk takes memory for it and may throw
  /// `std::bad_alloc`.
  void mark(GuestOffset guest_offset, std::uint64_t length_bytes);
  /// The bit of `guest_offset`, which lies within the disk, and for how many bytes it holds: at
  /// most `length_bytes`.
  BitmapExtent find(GuestOffset guest_offset, std::uint64_t length_bytes) const noexcept;

  /// True if bits were set, cleared, added or dropped since the last `note_stored`.
  bool has_changed() const noexcept { return changed_.load(std::memory_order_relaxed); }
  void note_stored() noexcept { changed_.store(false, std::memory_order_relaxed); }
  void note_changed() noexcept { changed_.store(true, std::memory_order_relaxed); }

  /// Follows the disk's size: bits behind its end are dropped, new ones are clear. Exclusive.
  void resize(std::uint64_t disk_bytes);

  // As the file stores them: byte n holds bits 8n (its least significant one) to 8n + 7 (qcow2
  // spec, Bitmap data). Places and lengths are multiples of 8 bytes. Behind the last bit all is 0.

  std::uint64_t data_bytes() const noexcept { return divide_round_up<std::uint64_t>(bits_, 8); }
  /// Sets, too, the bits that are set in `bytes`; those behind the last one are ignored.
  void add_bytes(std::uint64_t first_byte, std::span<const std::byte> bytes);
  void add_ones(std::uint64_t first_byte, std::uint64_t count);
  void copy_bytes(std::uint64_t first_byte, std::span<std::byte> into) const noexcept;
  enum class Content { zeroes, ones, mixed };
  Content content_of(std::uint64_t first_byte, std::uint64_t count) const noexcept;

 private:
  using Word = std::uint64_t;
  static constexpr std::uint64_t kWordBits = 64;
  static constexpr std::uint64_t kChunkWords = 512;
  static constexpr std::uint64_t kGroupChunks = 512;
  static constexpr std::uint64_t kGroupWords = kChunkWords * kGroupChunks;

  struct Chunk {
    std::array<std::atomic<Word>, kChunkWords> words{};
  };
  /// Null: all bits are clear.
  struct Group {
    std::array<std::atomic<Chunk*>, kGroupChunks> chunks{};
  };
  /// What parts whose bits are all set share; never written to.
  static Chunk* full_chunk() noexcept;
  static Group* full_group() noexcept;

  std::uint64_t words() const noexcept { return divide_round_up(bits_, kWordBits); }
  std::uint64_t groups() const noexcept { return divide_round_up(words(), kGroupWords); }
  /// Bits of the word that stand for granules.
  Word valid_bits(std::uint64_t word) const noexcept;
  const Chunk* chunk_of(std::uint64_t word) const noexcept;
  Word load(std::uint64_t word) const noexcept;
  Group& writable_group(std::uint64_t group);
  Chunk& writable_chunk(std::uint64_t word);

  void set_bits(std::uint64_t begin, std::uint64_t end);
  void set_word(std::uint64_t word, Word mask);
  void set_words(std::uint64_t begin, std::uint64_t end);
  bool try_fill_group(std::uint64_t group) noexcept;
  void set_chunk(std::uint64_t first_word);
  std::uint64_t find_end(std::uint64_t bit, std::uint64_t end_bit, bool value) const noexcept;

  // Exclusive.
  void drop_words_from(std::uint64_t word);
  static void drop_chunk(std::atomic<Chunk*>& chunk) noexcept;
  static void drop_group(std::atomic<Group*>& group) noexcept;

  const std::uint32_t granularity_bits_;
  std::uint64_t bits_;
  std::unique_ptr<std::atomic<Group*>[]> groups_;
  std::atomic<bool> changed_{false};
};

}  // namespace qcowkit::qcow2
