#include "formats/qcow2/bitmap_bits.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

namespace qcowkit::qcow2 {

namespace {

constexpr std::uint64_t kAllBits = ~std::uint64_t{0};

std::uint64_t load_little_endian(const std::byte* from) noexcept {
  std::uint64_t value;
  std::memcpy(&value, from, sizeof value);
  return std::endian::native == std::endian::little ? value : __builtin_bswap64(value);
}

void store_little_endian(std::byte* to, std::uint64_t value) noexcept {
  if constexpr (std::endian::native != std::endian::little) value = __builtin_bswap64(value);
  std::memcpy(to, &value, sizeof value);
}

std::uint64_t granules_of(std::uint64_t disk_bytes, std::uint32_t granularity_bits) noexcept {
  return divide_round_up(disk_bytes, std::uint64_t{1} << granularity_bits);
}

}  // namespace

BitmapBits::Chunk* BitmapBits::full_chunk() noexcept {
  static struct Full {
    Full() {
      for (std::atomic<Word>& word : chunk.words) word.store(kAllBits, std::memory_order_relaxed);
    }
    Chunk chunk;
  } full;
  return &full.chunk;
}

BitmapBits::Group* BitmapBits::full_group() noexcept {
  static struct Full {
    Full() {
      for (std::atomic<Chunk*>& c : group.chunks) c.store(full_chunk(), std::memory_order_relaxed);
    }
    Group group;
  } full;
  return &full.group;
}

BitmapBits::BitmapBits(std::uint64_t disk_bytes, std::uint32_t granularity_bits)
    : granularity_bits_(granularity_bits),
      bits_(granules_of(disk_bytes, granularity_bits)),
      groups_(std::make_unique<std::atomic<Group*>[]>(groups())) {}

BitmapBits::~BitmapBits() {
  for (std::uint64_t i = 0; i < groups(); ++i) drop_group(groups_[i]);
}

void BitmapBits::drop_chunk(std::atomic<Chunk*>& chunk) noexcept {
  Chunk* const old = chunk.exchange(nullptr, std::memory_order_relaxed);
  if (old != full_chunk()) delete old;
}

void BitmapBits::drop_group(std::atomic<Group*>& group) noexcept {
  Group* const old = group.exchange(nullptr, std::memory_order_relaxed);
  if (old == nullptr || old == full_group()) return;
  for (std::atomic<Chunk*>& chunk : old->chunks) drop_chunk(chunk);
  delete old;
}

// --- Reading -----------------------------------------------------------------------------------

BitmapBits::Word BitmapBits::valid_bits(std::uint64_t word) const noexcept {
  const std::uint64_t first = word * kWordBits;
  if (first >= bits_) return 0;
  return bits_ - first >= kWordBits ? kAllBits : (Word{1} << (bits_ - first)) - 1;
}

const BitmapBits::Chunk* BitmapBits::chunk_of(std::uint64_t word) const noexcept {
  if (word >= words()) return nullptr;
  const Group* const group = groups_[word / kGroupWords].load(std::memory_order_acquire);
  if (group == nullptr) return nullptr;
  return group->chunks[word / kChunkWords % kGroupChunks].load(std::memory_order_acquire);
}

BitmapBits::Word BitmapBits::load(std::uint64_t word) const noexcept {
  const Chunk* const chunk = chunk_of(word);
  return chunk == nullptr ? 0 : chunk->words[word % kChunkWords].load(std::memory_order_relaxed);
}

/// The first bit from `bit` on that is not `value`; `end_bit` if there is none before.
std::uint64_t BitmapBits::find_end(std::uint64_t bit, std::uint64_t end_bit,
                                   bool value) const noexcept {
  Word ignored = (Word{1} << (bit % kWordBits)) - 1;  // the bits before `bit`
  for (std::uint64_t word = bit / kWordBits; word * kWordBits < end_bit; ignored = 0) {
    const Chunk* const chunk = chunk_of(word);
    if (chunk == (value ? full_chunk() : nullptr)) {
      word = (word / kChunkWords + 1) * kChunkWords;
      continue;
    }
    const Word found = ((value ? kAllBits : 0) ^ load(word)) & ~ignored;
    if (found != 0) {
      const auto in_word = static_cast<std::uint64_t>(std::countr_zero(found));
      return std::min(end_bit, word * kWordBits + in_word);
    }
    ++word;
  }
  return end_bit;
}

BitmapExtent BitmapBits::find(GuestOffset guest_offset, std::uint64_t length_bytes) const noexcept {
  const std::uint64_t bit = guest_offset.value >> granularity_bits_;
  const std::uint64_t end_bit =
      std::min(bits_, granules_of(guest_offset.value + std::max<std::uint64_t>(length_bytes, 1),
                                  granularity_bits_));
  const bool is_dirty = (load(bit / kWordBits) >> (bit % kWordBits) & 1) != 0;
  const std::uint64_t end = find_end(bit, end_bit, is_dirty) << granularity_bits_;
  // A bit that was set meanwhile may make the run empty: it is told of as it was.
  const std::uint64_t run = std::max(end, (bit + 1) << granularity_bits_) - guest_offset.value;
  return {std::min(length_bytes, run), is_dirty};
}

BitmapBits::Content BitmapBits::content_of(std::uint64_t first_byte,
                                           std::uint64_t count) const noexcept {
  const std::uint64_t begin = first_byte * 8;
  const std::uint64_t end = begin + count * 8;
  const std::uint64_t valid_end = std::min(end, bits_);
  if (find_end(begin, valid_end, false) == valid_end) return Content::zeroes;
  // Bits behind the last one are to read as 0.
  if (end <= bits_ && find_end(begin, end, true) == end) return Content::ones;
  return Content::mixed;
}

void BitmapBits::copy_bytes(std::uint64_t first_byte, std::span<std::byte> into) const noexcept {
  for (std::size_t i = 0; i < into.size(); i += sizeof(Word)) {
    store_little_endian(into.data() + i, load((first_byte + i) / sizeof(Word)));
  }
}

// --- Setting -----------------------------------------------------------------------------------

BitmapBits::Group& BitmapBits::writable_group(std::uint64_t group) {
  std::atomic<Group*>& place = groups_[group];
  Group* present = place.load(std::memory_order_acquire);
  if (present != nullptr) return *present;
  auto fresh = std::make_unique<Group>();
  if (place.compare_exchange_strong(present, fresh.get(), std::memory_order_acq_rel)) {
    return *fresh.release();
  }
  return *present;  // somebody else was faster
}

/// Of a part whose bits are all set, all words already say so and none may be written.
BitmapBits::Chunk& BitmapBits::writable_chunk(std::uint64_t word) {
  Group& group = writable_group(word / kGroupWords);
  std::atomic<Chunk*>& place = group.chunks[word / kChunkWords % kGroupChunks];
  Chunk* present = place.load(std::memory_order_acquire);
  if (present != nullptr) return *present;
  auto fresh = std::make_unique<Chunk>();
  if (place.compare_exchange_strong(present, fresh.get(), std::memory_order_acq_rel)) {
    return *fresh.release();
  }
  return *present;
}

void BitmapBits::mark(GuestOffset guest_offset, std::uint64_t length_bytes) {
  if (length_bytes == 0) return;
  const std::uint64_t begin = guest_offset.value >> granularity_bits_;
  const std::uint64_t end = granules_of(guest_offset.value + length_bytes, granularity_bits_);
  set_bits(begin, std::min(end, bits_));
}

void BitmapBits::set_bits(std::uint64_t begin, std::uint64_t end) {
  if (begin >= end) return;
  const std::uint64_t first = begin / kWordBits;
  const std::uint64_t last = (end - 1) / kWordBits;
  const Word from_begin = kAllBits << (begin % kWordBits);
  const Word to_end = kAllBits >> (kWordBits - 1 - (end - 1) % kWordBits);
  if (first == last) {
    set_word(first, from_begin & to_end);
    return;
  }
  set_word(first, from_begin);
  set_words(first + 1, last);
  set_word(last, to_end);
}

void BitmapBits::set_word(std::uint64_t word, Word mask) {
  std::atomic<Word>& place = writable_chunk(word).words[word % kChunkWords];
  // Most writes go where others went before: those leave the cache line shared.
  if ((place.load(std::memory_order_relaxed) & mask) == mask) return;
  place.fetch_or(mask, std::memory_order_relaxed);
  if (!has_changed()) note_changed();
}

/// Sets whole words; whole chunks and groups without a word of their own where there is none yet.
void BitmapBits::set_words(std::uint64_t begin, std::uint64_t end) {
  while (begin < end) {
    if (begin % kGroupWords == 0 && end - begin >= kGroupWords &&
        try_fill_group(begin / kGroupWords)) {
      begin += kGroupWords;
    } else if (begin % kChunkWords == 0 && end - begin >= kChunkWords) {
      set_chunk(begin);
      begin += kChunkWords;
    } else {
      set_word(begin, kAllBits);
      ++begin;
    }
  }
}

/// False if the group has chunks of its own.
bool BitmapBits::try_fill_group(std::uint64_t group) noexcept {
  Group* present = nullptr;
  if (groups_[group].compare_exchange_strong(present, full_group(), std::memory_order_acq_rel)) {
    note_changed();
    return true;
  }
  return present == full_group();
}

void BitmapBits::set_chunk(std::uint64_t first_word) {
  Group& group = writable_group(first_word / kGroupWords);
  if (&group == full_group()) return;
  std::atomic<Chunk*>& place = group.chunks[first_word / kChunkWords % kGroupChunks];
  Chunk* present = nullptr;
  if (place.compare_exchange_strong(present, full_chunk(), std::memory_order_acq_rel)) {
    note_changed();
    return;
  }
  if (present == full_chunk()) return;
  for (std::uint64_t i = 0; i < kChunkWords; ++i) set_word(first_word + i, kAllBits);
}

void BitmapBits::add_bytes(std::uint64_t first_byte, std::span<const std::byte> bytes) {
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(Word)) {
    const std::uint64_t word = (first_byte + i) / sizeof(Word);
    const Word mask = load_little_endian(bytes.data() + i) & valid_bits(word);
    if (mask != 0) set_word(word, mask);
  }
}

void BitmapBits::add_ones(std::uint64_t first_byte, std::uint64_t count) {
  set_bits(std::min(first_byte * 8, bits_), std::min((first_byte + count) * 8, bits_));
}

// --- The disk's size ---------------------------------------------------------------------------

/// Clears the words from `word` on, and gives their memory back.
void BitmapBits::drop_words_from(std::uint64_t word) {
  for (std::uint64_t group = divide_round_up(word, kGroupWords); group < groups(); ++group) {
    drop_group(groups_[group]);
  }
  if (word % kGroupWords == 0 || word >= words()) return;
  std::atomic<Group*>& place = groups_[word / kGroupWords];
  Group* group = place.load(std::memory_order_relaxed);
  if (group == nullptr) return;
  if (group == full_group()) {
    auto own = std::make_unique<Group>();
    for (std::atomic<Chunk*>& chunk : own->chunks) chunk.store(full_chunk());
    group = own.release();
    place.store(group, std::memory_order_relaxed);
  }
  const std::uint64_t in_group = word % kGroupWords;
  for (std::uint64_t c = divide_round_up(in_group, kChunkWords); c < kGroupChunks; ++c) {
    drop_chunk(group->chunks[c]);
  }
  if (word % kChunkWords == 0) return;
  std::atomic<Chunk*>& chunk = group->chunks[in_group / kChunkWords];
  if (chunk.load(std::memory_order_relaxed) == nullptr) return;
  if (chunk.load(std::memory_order_relaxed) == full_chunk()) {
    auto own = std::make_unique<Chunk>();
    for (std::uint64_t i = 0; i < word % kChunkWords; ++i) own->words[i].store(kAllBits);
    chunk.store(own.release(), std::memory_order_relaxed);
    return;
  }
  for (std::uint64_t i = word % kChunkWords; i < kChunkWords; ++i) {
    chunk.load(std::memory_order_relaxed)->words[i].store(0, std::memory_order_relaxed);
  }
}

void BitmapBits::resize(std::uint64_t disk_bytes) {
  const std::uint64_t new_bits = granules_of(disk_bytes, granularity_bits_);
  if (new_bits == bits_) return;
  if (new_bits < bits_) {
    // The word that the new end lies in loses its last bits: by way of a copy, since it may be one
    // of those that full parts share.
    const Word kept = load(new_bits / kWordBits) & ((Word{1} << (new_bits % kWordBits)) - 1);
    drop_words_from(new_bits / kWordBits);
    if (kept != 0) set_word(new_bits / kWordBits, kept);
  }
  const std::uint64_t old_groups = groups();
  const std::uint64_t new_groups =
      divide_round_up(divide_round_up(new_bits, kWordBits), kGroupWords);
  if (new_groups != old_groups) {
    auto moved = std::make_unique<std::atomic<Group*>[]>(new_groups);
    for (std::uint64_t i = 0; i < std::min(old_groups, new_groups); ++i) {
      moved[i].store(groups_[i].load(std::memory_order_relaxed), std::memory_order_relaxed);
    }
    groups_ = std::move(moved);
  }
  bits_ = new_bits;
  note_changed();
}

}  // namespace qcowkit::qcow2
