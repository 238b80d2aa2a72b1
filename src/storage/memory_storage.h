// Host bytes in memory.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "base/mutex.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// A sparse byte array that behaves as a file does. Reads run side by side, changes one at a time.
/// Preallocation does nothing, for a page never written costs nothing and cannot run out;
/// `write_zeroes` and `discard` give whole pages back. `close` does nothing either: the bytes live
/// as long as the object.
class MemoryStorage final : public Storage {
 public:
  explicit MemoryStorage(std::string name = "memory");
  /// The same bytes and size, apart from this one from now on.
  std::unique_ptr<MemoryStorage> clone() const;

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override;
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override;
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override;
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override;
  void flush() override {}
  void resize(std::uint64_t new_size_bytes, Preallocation preallocation) override;
  std::uint64_t size() const override;
  std::uint64_t allocated_bytes() const override;
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override;
  bool can_grow() const noexcept override { return true; }
  bool is_read_only() const noexcept override { return false; }
  const std::string& name() const noexcept override { return name_; }
  void close() override {}

 private:
  static constexpr std::uint64_t kPageBytes = 4096;
  static constexpr std::uint64_t kChunkBytes = 1 << 16;

  /// Neighbouring pages that are looked up together.
  struct Chunk {
    std::array<std::byte, kChunkBytes> bytes{};
    std::bitset<kChunkBytes / kPageBytes> is_present;
  };
  using Chunks = std::map<std::uint64_t, std::unique_ptr<Chunk>>;  // by offset / kChunkBytes

  void clear(std::uint64_t first, std::uint64_t end, bool may_unmap) REQUIRES(mutex_);
  static void clear_in_chunk(Chunk& chunk, std::uint64_t first, std::uint64_t end, bool may_unmap);

  const std::string name_;

  mutable SharedMutex mutex_;
  // Invariant: a byte is zero if its page is not present or it lies past the end.
  Chunks chunks_ GUARDED_BY(mutex_);
  std::uint64_t size_ GUARDED_BY(mutex_) = 0;
};

}  // namespace qcowkit
