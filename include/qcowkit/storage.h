// Part of qcowkit. MIT licence; see LICENSE.
//
// Where an image's host bytes live. `Storage` is the only road from the formats to the outside.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "qcowkit/events.h"

namespace qcowkit {

/// How new host space is provided. `metadata` means the same as `off` for a storage; it matters
/// to formats.
enum class Preallocation {
  off,       ///< when it is written to
  metadata,  ///< the format's tables are made at once, the space comes when it is written to
  falloc,    ///< the file system sets it aside at once (fallocate)
  full,      ///< zeroes are written to all of it
};

/// What a zero request may do.
struct ZeroOptions {
  bool may_unmap = false;    ///< the range may lose its host space (a hole is punched)
  bool no_fallback = false;  ///< do nothing and return false rather than write buffers of zeroes
};

/// A run of host bytes that are all data, or all known to read as zeroes without occupying space.
struct StorageExtent {
  std::uint64_t length_bytes;  ///< at least 1
  bool is_hole;
  /// Data that occupy no space, or a hole that does: what only servers tell of. `is_hole` says what
  /// is read, all the same.
  bool has_unusual_space = false;
};

class Storage;

/// A byte of a storage.
struct StoragePlace {
  Storage* storage;
  std::uint64_t host_offset;
};

/// Host bytes: a file, a block device, memory.
///
/// Thread-safe: every call may be made from any number of threads at once; overlapping writes
/// end in some order. Reads and writes complete whole or throw `Error`; reading past the end
/// yields zeroes; writing past the end grows the storage where it can. All offsets are host offsets
/// and all lengths are in bytes; no alignment is asked of the caller (an implementation that needs
/// it handles it).
///
/// Errors carry the system's errno (EIO, ENOSPC, ...), with the storage's name in the message;
/// `Errc::read_only` for changes of what is open for reading only. A write that fails may have
/// stored any part of its range.
class Storage {
 public:
  virtual ~Storage() = default;
  Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  /// Fills the buffers in order from `host_offset` on. One system call where the medium allows.
  virtual void readv(std::uint64_t host_offset, std::span<const iovec> into) = 0;
  /// Writes the buffers in order from `host_offset` on. One system call where the medium allows.
  virtual void writev(std::uint64_t host_offset, std::span<const iovec> from) = 0;
  /// Makes the range read as zeroes, growing the storage if the range lies beyond its end.
  /// Returns false, with nothing done, only under `no_fallback` where there is no fast way.
  virtual bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                            ZeroOptions options) = 0;
  /// Hint: the range's content is not needed any more. May leave it as it is; never grows or
  /// shrinks the storage.
  virtual void discard(std::uint64_t host_offset, std::uint64_t length_bytes) = 0;
  /// Returns when all writes that completed before the call are durable. Once a flush has
  /// failed, every later flush fails too: what was lost cannot be known.
  virtual void flush() = 0;
  /// Sets the size; new bytes read as zeroes.
  virtual void resize(std::uint64_t new_size_bytes, Preallocation preallocation) = 0;
  /// The present size in bytes.
  virtual std::uint64_t size() const = 0;
  /// Host space that is really occupied, in bytes (the size where that is not known).
  virtual std::uint64_t allocated_bytes() const { return size(); }
  /// What starts at `host_offset`, for at most `length_bytes` (at least 1). Past the end: hole.
  virtual StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const = 0;
  /// True where bytes that lie beyond `size()` read as zeroes once the storage has grown over them
  /// (files, memory), false where there is nothing beyond (block devices).
  virtual bool can_grow() const noexcept = 0;
  /// Where the byte at `host_offset` lies for whoever may read and write it there as well as here:
  /// here, but for a storage that is a part of another one.
  virtual StoragePlace place_of(std::uint64_t host_offset) noexcept { return {this, host_offset}; }
  /// Copies bytes from `source` without their passing through user space (clone or
  /// copy_file_range). Returns how many bytes, from the range's start, were copied: 0 where there
  /// is no such way.
  virtual std::uint64_t copy_from(Storage& source, std::uint64_t source_host_offset,
                                  std::uint64_t host_offset, std::uint64_t length_bytes);
  /// Like `copy_from`, but only by sharing the source's blocks (XFS, btrfs, ...), which costs
  /// neither space nor time for each byte. Returns 0 where blocks cannot be shared or the range's
  /// start is at no block's start in either storage, and less than asked where its end is at no
  /// block's end.
  virtual std::uint64_t clone_from(Storage& /*source*/, std::uint64_t /*source_host_offset*/,
                                   std::uint64_t /*host_offset*/, std::uint64_t /*length_bytes*/) {
    return 0;
  }
  /// The offset, length and memory alignment (bytes, a power of two) at which requests are
  /// cheapest; 1 where it does not matter.
  virtual std::uint32_t alignment() const noexcept { return 1; }
  virtual bool is_read_only() const noexcept = 0;
  /// What messages call this storage: the path of a file.
  virtual const std::string& name() const noexcept = 0;
  /// Reports what only closing can tell. The storage may not be used afterwards. Idempotent.
  virtual void close() = 0;

  /// The means to stop requests at events, if this storage or one behind it has them.
  virtual Breakpoints* breakpoints() noexcept { return nullptr; }

  // Conveniences over the interface: `readv` and `writev` with one buffer.
  void read(std::uint64_t host_offset, std::span<std::byte> into);
  void write(std::uint64_t host_offset, std::span<const std::byte> from);

  /// Tells whoever listens that the work on this storage has come to `event`; see `EventListener`.
  /// One comparison where nobody does.
  void raise(Event event, std::uint64_t offset = 0, std::uint64_t length_bytes = 0) const noexcept {
    if (listener_ != nullptr) listener_->on_event(event, offset, length_bytes);
  }
  /// Who listens from now on; null: nobody. To be set before the storage is used; the listener is
  /// to live longer.
  virtual void set_listener(EventListener* listener) noexcept { listener_ = listener; }
  EventListener* listener() const noexcept { return listener_; }

 private:
  EventListener* listener_ = nullptr;
};

/// Host caching, as the reference's cache modes are defined:
///   mode          O_DIRECT   flush passed on   every write durable on return
///   none          yes        yes               no
///   writeback     no         yes               no
///   writethrough  no         yes               yes
///   directsync    yes        yes               yes
///   unsafe        no         no                no
enum class CacheMode { none, writeback, writethrough, directsync, unsafe };

/// Which file locks are taken (the reference's protocol: OFD locks on the bytes from 100 and 200).
enum class Locking {
  automatic,    ///< lock where the file system can; go on without where it cannot
  force_share,  ///< read although another process may be writing; nothing is locked
  off,          ///< neither lock nor look
};

/// How `open_file` opens.
struct FileOptions {
  bool read_only = false;
  bool create = false;  ///< create the file, or empty an existing one (after its lock is held)
  CacheMode cache = CacheMode::writeback;
  Locking locking = Locking::automatic;
};

/// Opens a regular file or a device. Character devices have the size that they tell of, often 0.
/// Throws `Error`: the errno of the system call that failed, or `Errc::in_use` where another
/// process holds a lock that conflicts.
std::unique_ptr<Storage> open_file(const std::string& path, const FileOptions& options);

/// An empty storage in memory, which `name` stands for in messages.
std::unique_ptr<Storage> make_memory_storage(std::string name = "memory");

}  // namespace qcowkit
