// What a format is to the floors above it: one layer of a virtual disk.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/offsets.h"
#include "formats/chain_cache.h"
#include "qcowkit/error.h"
#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// How one layer stores a run of guest bytes.
struct LayerExtent {
  ExtentKind kind = ExtentKind::unallocated;  ///< `unallocated`: the backing file decides
  std::uint64_t length_bytes = 0;             ///< at least 1
  HostOffset host_offset{};    ///< data: of the run's first byte in `storage`; compressed: of the
                               ///< cluster's compressed bytes
  Storage* storage = nullptr;  ///< data, preallocated zero
  bool has_host_offset = false;
  bool is_encrypted = false;           ///< data: `read_encrypted` gets at it
  std::uint32_t compressed_bytes = 0;  ///< compressed: upper bound of the stream's length
  bool has_unusual_space = false;      ///< see `Extent`
};

/// One open image file of one format. Thread-safe but for `set_backing` and `close`. Ranges lay
/// within `virtual_size()` when the caller checked; the disk may have become smaller since.
class Layer {
 public:
  virtual ~Layer() = default;
  Layer() = default;
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  // Through this layer and those behind it. Past the end reads as zeroes.

  /// Fills `into` from `guest_offset` on.
  void read(GuestOffset guest_offset, std::span<std::byte> into);
  /// True if the whole range is known, without reading data, to be zeroes.
  bool is_known_zero(GuestOffset guest_offset, std::uint64_t length_bytes);
  /// What unallocated clusters read from; null: zeroes. Not while there is I/O in the chain.
  void set_backing(Layer* backing) noexcept;
  /// To be called after each change of what this layer stores, however it ended: those above may
  /// know of places where it had nothing.
  void note_change() noexcept {
    if (has_overlay_) forget_chain();
  }
  /// The same after a change of the disk's size.
  void forget_chain() noexcept { chain_generation_->fetch_add(1, std::memory_order_acq_rel); }

  // This layer alone.

  virtual std::uint64_t virtual_size() const noexcept = 0;
  virtual std::uint64_t cluster_size() const noexcept = 0;  ///< 0: no clusters
  virtual bool is_read_only() const noexcept = 0;
  virtual Storage& storage() const noexcept = 0;
  virtual Storage& data_storage() const noexcept { return storage(); }

  /// How the range's first byte is stored, and for how many bytes that holds.
  virtual LayerExtent map(GuestOffset guest_offset, std::uint64_t length_bytes) = 0;
  /// The same for what follows, run by run, until `into` is full or the range ends. Returns how
  /// many runs there are.
  virtual std::size_t map_runs(GuestOffset guest_offset, std::uint64_t length_bytes,
                               std::span<LayerExtent> into);
  /// Reads from one compressed cluster, as `map` told of it: `into.size()` bytes from
  /// `guest_offset` on.
  virtual void read_compressed(GuestOffset guest_offset, const LayerExtent& extent,
                               std::span<std::byte> into) = 0;

  /// Host clusters that `map` told of are not used for anything else between `pin` and `unpin`.
  virtual std::uint32_t pin() noexcept { return 0; }
  virtual void unpin(std::uint32_t /*slot*/) noexcept {}

  virtual void write(GuestOffset guest_offset, std::span<const std::byte> from) = 0;
  virtual void write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes,
                            bool may_unmap) = 0;
  /// False, with nothing done, where that takes more than metadata or the storage's own means.
  virtual bool try_write_zeroes(GuestOffset /*guest_offset*/, std::uint64_t /*length_bytes*/,
                                bool /*may_unmap*/) {
    return false;
  }
  virtual void discard(GuestOffset guest_offset, std::uint64_t length_bytes) = 0;
  virtual void write_in_place(GuestOffset guest_offset, std::uint64_t length_bytes,
                              const Image::FillRun& fill) = 0;
  virtual CompressedCluster compress(std::span<const std::byte> cluster, int level) const = 0;
  virtual void write_compressed(GuestOffset guest_offset, const CompressedCluster& compressed,
                                std::span<const std::byte> plain) = 0;

  /// Reads part of a run that `map` called encrypted: `into.size()` bytes from `guest_offset` on,
  /// which lie at the extent's start.
  virtual void read_encrypted(GuestOffset guest_offset, const LayerExtent& extent,
                              std::span<std::byte> into);
  virtual bool is_encrypted() const noexcept { return false; }

  virtual void flush() = 0;
  virtual void describe(ImageInfo& info) const = 0;
  virtual CheckReport check(const CheckOptions& options);
  virtual void resize(std::uint64_t size_bytes, const ResizeOptions& options);
  virtual void amend(const AmendOptions& options);
  virtual void make_empty();
  virtual void invalidate() {}
  virtual void close() = 0;

  // What only some formats have; the others throw `Errc::unsupported`. `Image` says what they do.

  virtual std::vector<SnapshotInfo> snapshots() const;
  virtual SnapshotInfo create_snapshot(const Image::NewSnapshot& snapshot);
  virtual void apply_snapshot(const SnapshotSelector& which);
  virtual void delete_snapshot(const SnapshotSelector& which);
  virtual void read_vm_state(std::uint64_t offset, std::span<std::byte> into);
  virtual void write_vm_state(std::uint64_t offset, std::span<const std::byte> from);

  virtual std::vector<BitmapInfo> bitmaps() const;
  virtual void add_bitmap(const Image::NewBitmap& bitmap);
  virtual void remove_bitmap(const std::string& name);
  virtual void clear_bitmap(const std::string& name);
  virtual void enable_bitmap(const std::string& name, bool enabled);
  virtual void mark_bitmap(const std::string& name, GuestOffset guest_offset,
                           std::uint64_t length_bytes);
  virtual BitmapExtent map_bitmap(const std::string& name, GuestOffset guest_offset,
                                  std::uint64_t length_bytes);

 protected:
  Layer* backing() const noexcept { return backing_; }
  /// Fills `into`, all of which lies within the disk. Unless overridden, run by run as `map` tells.
  virtual void read_inside(GuestOffset guest_offset, std::span<std::byte> into);
  /// Reads a run as `map` told of it.
  void read_run(GuestOffset guest_offset, const LayerExtent& extent, std::span<std::byte> into);

 private:
  std::uint64_t chain_unit_bytes() const noexcept;
  Layer& first_storing(GuestOffset guest_offset);
  LayerExtent run_to_pass(GuestOffset guest_offset, std::uint64_t length_bytes);
  Layer& look_for_first_storing(GuestOffset unit_begin, std::uint64_t generation);
  template <typename Visit>
  void visit_backing(GuestOffset guest_offset, std::uint64_t length_bytes, Visit visit);

  Layer* backing_ = nullptr;
  std::uint32_t layers_behind_ = 0;
  bool has_overlay_ = false;

  /// Moves on with each change of a layer that others lie over. All layers of a chain have the
  /// same.
  std::shared_ptr<std::atomic<std::uint64_t>> chain_generation_ =
      std::make_shared<std::atomic<std::uint64_t>>(1);
  ChainCache chain_cache_;
};

}  // namespace qcowkit
