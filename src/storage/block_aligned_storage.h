// A storage that takes requests of any range and makes them whole blocks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/range_lock.h"
#include "storage/forwarding_storage.h"
#include "storage/whole_blocks.h"

namespace qcowkit {

/// Hands on to a child that wants whole blocks. Reads and writes that are none are completed, and
/// the edges of zeroed ranges written as data. Discards are handed on as they are: they are hints,
/// of which the child leaves out the parts of blocks. Filters override how whole blocks are moved.
///
/// Thread-safe as every storage: nobody changes what has been read to complete a write.
class BlockAlignedStorage : public ForwardingStorage, private BlockMedium {
 public:
  /// `block_bytes`, a power of two, is for reads and writes, `zero_block_bytes`, a multiple of it,
  /// for zeroes.
  BlockAlignedStorage(std::unique_ptr<Storage> child, std::uint64_t block_bytes,
                      std::uint64_t zero_block_bytes);

  void readv(std::uint64_t host_offset, std::span<const iovec> into) final;
  void writev(std::uint64_t host_offset, std::span<const iovec> from) final;
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override;
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override;
  std::uint32_t alignment() const noexcept override;

 protected:
  /// How whole blocks reach the child. A write behind the child's end may end within a block.
  virtual void read_whole(std::uint64_t host_offset, std::span<const iovec> into);
  virtual void write_whole(std::uint64_t host_offset, std::span<const iovec> from);
  virtual bool zero_whole(std::uint64_t host_offset, std::uint64_t length_bytes,
                          ZeroOptions options);
  /// Raises the event.
  void come_to(Event event, std::uint64_t host_offset, std::uint64_t length_bytes) override;

  bool are_whole_zero_blocks(std::uint64_t host_offset, std::uint64_t length_bytes) const noexcept {
    return host_offset % zero_block_bytes_ == 0 && length_bytes % zero_block_bytes_ == 0;
  }

 private:
  int read_blocks(std::uint64_t host_offset, std::span<std::byte> into) final;
  int write_blocks(std::uint64_t host_offset, std::span<std::byte> from,
                   std::size_t padding_bytes) final;
  void require_addressable(std::uint64_t host_offset, std::uint64_t length_bytes) const;
  void write_zero_bytes(std::uint64_t host_offset, std::uint64_t length_bytes);

  // Constant after construction.
  const WholeBlocks blocks_;
  const std::uint64_t zero_block_bytes_;

  RangeLock changes_;
};

/// `block_bytes`: a power of two.
std::unique_ptr<Storage> make_block_aligned_storage(std::unique_ptr<Storage> child,
                                                    std::uint32_t block_bytes);

}  // namespace qcowkit
