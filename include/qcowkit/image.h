// Part of qcowkit. MIT licence; see LICENSE.
//
// class Image: the guest's view of one virtual disk, with its backing chain.
//
//   OpenOptions writable;
//   writable.read_only = false;
//   const auto disk = Image::open("disk.qcow2", writable);
//   disk->write(1 << 20, bytes);
//   disk->close();  // flushes, and reports what the destructor could not
//
//   for (std::uint64_t at = 0; at < disk->virtual_size();) {  // what a backup has to copy
//     const BitmapExtent extent = disk->map_bitmap("since-monday", at, disk->virtual_size() - at);
//     if (extent.is_dirty) copy_range(*disk, at, extent.length_bytes);
//     at += extent.length_bytes;
//   }
//
// examples/ has whole programs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "qcowkit/error.h"
#include "qcowkit/info.h"
#include "qcowkit/options.h"
#include "qcowkit/storage.h"

namespace qcowkit {

class NodeOptions;  // qcowkit/node.h

/// One compressed cluster, ready to be written. Empty `bytes`: it did not get smaller.
struct CompressedCluster {
  std::vector<std::byte> bytes;
};

/// A virtual disk.
///
/// Thread-safe: all calls but `close` and `reopen` may be made from any number of threads at once;
/// reads that need no metadata from the disk run in parallel. Requests that overlap in time and
/// range end as if made one after the other, in some order, byte by byte. Guest offsets and lengths
/// are in bytes and need no alignment; a range past `virtual_size()` is `Errc::invalid_argument`.
///
/// Every failure throws `Error`, its message starting with the image's name.
class Image {
 public:
  /// Opens the image in `path`, and its chain as `options` allow. Blocks while locks are asked for
  /// and passphrases are tried. Throws `Errc::not_an_image`, `corrupt`, `unsupported` (a feature
  /// that is not known), `in_use`, `reference_refused` or `limit_exceeded`, or the system's errno.
  /// A path is nothing but a path: `NodeOptions::from_name` reads "nbd://..." and "json:{...}".
  static std::unique_ptr<Image> open(const std::string& path, const OpenOptions& options = {});
  /// Opens what a tree of drivers and their options stands for ("driver=qcow2,file.filename=...").
  /// What it says goes before `options`.
  static std::unique_ptr<Image> open(const NodeOptions& node, const OpenOptions& options = {});
  /// Opens an image that lies in `storage`. Relative names are resolved against `storage->name()`.
  static std::unique_ptr<Image> open(std::unique_ptr<Storage> storage,
                                     const OpenOptions& options = {});
  /// Creates (or replaces) the image in `path`. It is durable on return and not open. Throws
  /// `Errc::invalid_argument` for options that the format does not have or that do not fit
  /// together.
  static void create(const std::string& path, const CreateOptions& options);
  /// Formats `storage`, which is emptied; the storage stays the caller's.
  static void create(Storage& storage, const CreateOptions& options);
  /// The format of the file in `path` by its first bytes ("raw" where no other is recognised).
  static std::string probe(const std::string& path);

  ~Image();  ///< closes, but cannot report: call `close()`
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  /// The name that the image was opened by, as messages begin with it.
  const std::string& filename() const noexcept;
  /// "raw", "qcow2", "qcow" or "luks".
  const std::string& format() const noexcept;
  /// The disk's size in bytes, now: `resize` and `apply_snapshot` change it.
  std::uint64_t virtual_size() const noexcept;
  bool is_read_only() const noexcept;
  /// True if guest data is encrypted where it is stored.
  bool is_encrypted() const noexcept;
  /// The unit of allocation in bytes; 0 where the format has none (raw).
  std::uint64_t cluster_size() const noexcept;
  /// The image's backing file, null if none is open.
  Image* backing() const noexcept;
  /// The bytes that this image's format lies in.
  Storage& storage() const noexcept;
  /// Where guest data is stored: the external data file, else `storage()`.
  Storage& data_storage() const noexcept;

  /// Fills `into` with what the guest reads there, looking through the whole chain. Throws
  /// `corrupt` where the tables that say where the bytes lie make no sense, `invalid_argument`
  /// where the data is encrypted and no secret was given.
  void read(std::uint64_t guest_offset, std::span<std::byte> into);
  /// Stores `from`; durable after the next `flush`, or at once if the cache mode says so. A write
  /// that fails may have stored any part of the range; the rest of the disk is untouched. Throws
  /// `Errc::read_only`; `corrupt`, having marked the image as such, where it would hit metadata.
  void write(std::uint64_t guest_offset, std::span<const std::byte> from);
  /// Makes the range read as zeroes, and go on doing so over another backing file where the format
  /// can say it. With `may_unmap`, its host space may be given back; without it, host clusters that
  /// are there stay preallocated, where the format has such.
  void write_zeroes(std::uint64_t guest_offset, std::uint64_t length_bytes, bool may_unmap);
  /// The same, but only where that costs no more than metadata or a call to the storage's own
  /// means: false, with nothing done, where buffers of zeroes would have to be written.
  bool try_write_zeroes(std::uint64_t guest_offset, std::uint64_t length_bytes, bool may_unmap);
  /// Gives whole clusters of the range back. They read as zeroes afterwards, also over a backing
  /// file; parts of clusters are left as they are. Formats that cannot say that a cluster hides the
  /// backing file (qcow, qcow2 version 2) leave all of them as they are over one.
  void discard(std::uint64_t guest_offset, std::uint64_t length_bytes);

  /// Compresses one cluster of guest data. Heavy and lock-free: meant to be called from many
  /// threads at once. `level` 0 is the default of the image's compression type.
  CompressedCluster compress(std::span<const std::byte> cluster, int level = 0) const;
  /// Stores a cluster: compressed where it got smaller, plain otherwise. `guest_offset` is a
  /// multiple of the cluster size and `plain` one cluster (fewer bytes only at the disk's end).
  void write_compressed(std::uint64_t guest_offset, const CompressedCluster& compressed,
                        std::span<const std::byte> plain);

  /// Returns when everything acknowledged before the call is durable. Once it has failed, it fails
  /// for as long as the image is open: what was lost cannot be known.
  void flush();

  /// What the range's first byte is stored as, and for how many bytes (at most `length_bytes`, at
  /// least 1) that answer holds, looking through the whole chain. Valid until the next write to the
  /// image or its chain.
  Extent map(std::uint64_t guest_offset, std::uint64_t length_bytes);
  /// The same for what follows, extent by extent, until `into` is full or the range ends. Returns
  /// how many there are. For many extents this is much faster than a call for each.
  std::size_t map(std::uint64_t guest_offset, std::uint64_t length_bytes, std::span<Extent> into);
  /// As the first, for this layer only: `unallocated` means that the backing file decides.
  Extent map_layer(std::uint64_t guest_offset, std::uint64_t length_bytes);

  /// Keeps host clusters that `map` told of from being used for other guest data while it lives.
  class Pin;
  Pin pin();

  /// For a copier that moves bytes to where they will lie: gives the range, whose ends are
  /// multiples of the cluster size (or the disk's end), host space without writing to it, lets
  /// `fill` write whole runs straight into the storage, then makes them the guest's. `fill(storage,
  /// host_offset, guest_offset, length_bytes)` is called once for each contiguous run; if it
  /// throws, nothing has changed.
  using FillRun = std::function<void(Storage& storage, std::uint64_t host_offset,
                                     std::uint64_t guest_offset, std::uint64_t length_bytes)>;
  void write_in_place(std::uint64_t guest_offset, std::uint64_t length_bytes, const FillRun& fill);

  // Internal snapshots (qcow2 spec, Snapshots). Changing requests wait while one is made, applied
  // or deleted. Formats without them throw `Errc::unsupported`.

  /// All of them, in the order of the snapshot table.
  std::vector<SnapshotInfo> snapshots() const;
  /// What `create_snapshot` stores; see `SnapshotInfo`.
  struct NewSnapshot {
    std::string name = {};
    std::string id = {};  ///< empty: one more than the largest number so far
    /// Without it: now.
    std::optional<std::uint32_t> date_seconds = {};
    std::uint32_t date_nanoseconds = 0;
    std::uint64_t vm_clock_nanoseconds = 0;
    /// How many bytes of what `write_vm_state` has stored belong to it.
    std::uint64_t vm_state_size_bytes = 0;
    std::optional<std::uint64_t> icount = {};
  };
  /// Keeps the disk's present content. Durable on return.
  SnapshotInfo create_snapshot(const NewSnapshot& snapshot);
  /// Makes the disk what it was then, also its size. What has changed since is lost. Durable on
  /// return. Throws `invalid_argument` for a snapshot that is not there, as do the calls below.
  void apply_snapshot(const SnapshotSelector& which);
  /// Gives the clusters back that only this snapshot has. Durable on return.
  void delete_snapshot(const SnapshotSelector& which);
  /// The area behind the disk where a machine's state is kept until a snapshot takes it. Offsets
  /// are the area's own, in bytes. What was never written there reads as zeroes.
  void read_vm_state(std::uint64_t offset, std::span<std::byte> into);
  void write_vm_state(std::uint64_t offset, std::span<const std::byte> from);

  // Persistent dirty bitmaps (qcow2 spec, Bitmaps). An enabled one follows every change that is
  // made through this class; applying a snapshot and `make_empty` change the whole disk, and what
  // the disk grows by is clean. All are stored by `close`. One that a crash kept from that is
  // listed as in use, and can only be removed. Formats without bitmaps throw `Errc::unsupported`.

  /// All of them, as they are now.
  std::vector<BitmapInfo> bitmaps() const;
  /// What `add_bitmap` makes.
  struct NewBitmap {
    std::string name = {};
    /// 512 to 2 GiB, a power of two; 0: a cluster, 4 to 64 KiB.
    std::uint64_t granularity_bytes = 0;
    bool enabled = true;
  };
  /// Throws `Errc::invalid_argument` where there is one of this name.
  void add_bitmap(const NewBitmap& bitmap);
  void remove_bitmap(const std::string& name);
  /// Forgets all that the bitmap has noted.
  void clear_bitmap(const std::string& name);
  void enable_bitmap(const std::string& name, bool enabled);
  /// Notes in `target` what `source_name` of `source`, which may be this image, has noted.
  void merge_bitmap(const std::string& target, Image& source, const std::string& source_name);
  /// Notes the range in the bitmap, enabled or not.
  void mark_bitmap(const std::string& name, std::uint64_t guest_offset, std::uint64_t length_bytes);
  /// What the bitmap says of the range's first byte, and for how many bytes that holds.
  BitmapExtent map_bitmap(const std::string& name, std::uint64_t guest_offset,
                          std::uint64_t length_bytes);

  // Changing the image itself. Changing requests wait meanwhile; a crash leaves the image as it was
  // before or as it is afterwards.

  /// Sets the disk's size. New bytes read as zeroes, also over a larger backing file.
  void resize(std::uint64_t size_bytes, const ResizeOptions& options = {});
  /// Changes what the image was created with. Throws `Errc::unsupported` or `invalid_argument` for
  /// what it cannot be changed to.
  void amend(const AmendOptions& options);
  /// Gives all clusters of this layer back: the disk reads as its backing file, or as zeroes.
  void make_empty();
  /// Turns to reading only or, with the file's permission, to writing. Secrets, caches and options
  /// stay.
  void reopen(bool read_only);
  /// Opens the image anew with other options: `changes` to those of its node, and `options` instead
  /// of those that it was opened with (`open_options`). The backing file stays. If that fails, the
  /// image is as it was.
  void reopen(const NodeOptions& changes, const OpenOptions& options);
  /// What the image was opened with.
  OpenOptions open_options() const;
  /// Forgets everything that is cached of the image's metadata, because somebody else has written
  /// to the file. Changes that were not flushed are flushed first.
  void invalidate();

  /// What the image's header and tables say of it. May read metadata.
  ImageInfo info() const;
  /// Looks for damage in the metadata and repairs it as `options` say. Changing requests wait
  /// meanwhile. What is found is told in the report and is no failure. Throws `Errc::unsupported`
  /// where the format has nothing to check (raw).
  CheckReport check(const CheckOptions& options = {});

  /// Flushes and closes the image and its chain. Idempotent.
  void close();

  struct Impl;

 private:
  explicit Image(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// See `Image::pin`. Taking and dropping one costs no lock.
class Image::Pin {
 public:
  Pin(Pin&& other) noexcept : release_(other.release_), state_(other.state_), slot_(other.slot_) {
    other.release_ = nullptr;
  }
  Pin& operator=(Pin&&) = delete;
  ~Pin() {
    if (release_ != nullptr) release_(state_, slot_);
  }

 private:
  friend class Image;
  using Release = void (*)(void* state, std::uint32_t slot) noexcept;
  Pin(Release release, void* state, std::uint32_t slot)
      : release_(release), state_(state), slot_(slot) {}
  Release release_;
  void* state_;
  std::uint32_t slot_;
};

}  // namespace qcowkit
