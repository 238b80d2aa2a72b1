// One open qcow2 image file: the guest's requests.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/checked.h"
#include "crypto/sector_cipher.h"
#include "formats/decompressed_cache.h"
#include "formats/encrypted_io.h"
#include "formats/guest_range_lock.h"
#include "formats/layer.h"
#include "formats/qcow2/bitmaps.h"
#include "formats/qcow2/cluster_tree.h"
#include "formats/qcow2/corrupt_image.h"
#include "formats/qcow2/header.h"
#include "formats/qcow2/metadata.h"
#include "formats/qcow2/write_plan.h"
#include "formats/request_gate.h"
#include "formats/sector_traffic.h"
#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

struct LayerOptions {
  bool read_only = true;
  bool for_check = false;                ///< tolerate the dirty and corrupt bits
  std::shared_ptr<const Secret> secret;  ///< of an encrypted image; null: only metadata is of use
  MetadataOptions metadata;
};

/// Thread-safe but for `set_backing` and `close`. README.md tells how a write goes and what is
/// ordered how.
class Qcow2Layer final : public Layer {
 public:
  /// `header` has been read from `storage`. `data_file` is the external data file, null if the
  /// image has none (or, where only metadata is wanted, if it is not opened). An image with the
  /// dirty bit is repaired first if it is opened for writing. Throws `Error`: corrupt, unsupported,
  /// read_only.
  Qcow2Layer(std::unique_ptr<Storage> storage, std::unique_ptr<Storage> data_file, Header header,
             const LayerOptions& options);
  ~Qcow2Layer() override;

  /// Reads and checks the header of the image in `storage`; see `Header::decode` for `for_check`.
  static Header read_header(Storage& storage, bool for_check = false);

  std::uint64_t virtual_size() const noexcept override {
    return virtual_size_.load(std::memory_order_relaxed);
  }
  std::uint64_t cluster_size() const noexcept override { return geometry_.cluster_size(); }
  bool is_read_only() const noexcept override { return read_only_; }
  bool is_encrypted() const noexcept override { return crypt_method_ != crypt_method::kNone; }
  Storage& storage() const noexcept override { return *storage_; }
  Storage& data_storage() const noexcept override { return data_file_ ? *data_file_ : *storage_; }

  LayerExtent map(GuestOffset guest_offset, std::uint64_t length_bytes) override;
  std::size_t map_runs(GuestOffset guest_offset, std::uint64_t length_bytes,
                       std::span<LayerExtent> into) override;
  void read_compressed(GuestOffset guest_offset, const LayerExtent& extent,
                       std::span<std::byte> into) override;
  void read_encrypted(GuestOffset guest_offset, const LayerExtent& extent,
                      std::span<std::byte> into) override;
  std::uint32_t pin() noexcept override { return metadata_.epochs().enter(); }
  void unpin(std::uint32_t slot) noexcept override { metadata_.epochs().leave(slot); }

  void write(GuestOffset guest_offset, std::span<const std::byte> from) override;
  void write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes, bool may_unmap) override;
  bool try_write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes,
                        bool may_unmap) override;
  void discard(GuestOffset guest_offset, std::uint64_t length_bytes) override;
  void write_in_place(GuestOffset guest_offset, std::uint64_t length_bytes,
                      const Image::FillRun& fill) override;
  CompressedCluster compress(std::span<const std::byte> cluster, int level) const override;
  void write_compressed(GuestOffset guest_offset, const CompressedCluster& compressed,
                        std::span<const std::byte> plain) override;

  std::vector<SnapshotInfo> snapshots() const override;
  SnapshotInfo create_snapshot(const Image::NewSnapshot& snapshot) override;
  void apply_snapshot(const SnapshotSelector& which) override;
  void delete_snapshot(const SnapshotSelector& which) override;
  void read_vm_state(std::uint64_t offset, std::span<std::byte> into) override;
  void write_vm_state(std::uint64_t offset, std::span<const std::byte> from) override;

  std::vector<BitmapInfo> bitmaps() const override;
  void add_bitmap(const Image::NewBitmap& bitmap) override;
  void remove_bitmap(const std::string& name) override;
  void clear_bitmap(const std::string& name) override;
  void enable_bitmap(const std::string& name, bool enabled) override;
  void mark_bitmap(const std::string& name, GuestOffset guest_offset,
                   std::uint64_t length_bytes) override;
  BitmapExtent map_bitmap(const std::string& name, GuestOffset guest_offset,
                          std::uint64_t length_bytes) override;

  void resize(std::uint64_t size_bytes, const ResizeOptions& options) override;
  void amend(const AmendOptions& options) override;
  void make_empty() override;
  void invalidate() override;

  void flush() override;
  void describe(ImageInfo& info) const override;
  CheckReport check(const CheckOptions& options) override;
  void close() override;

 private:
  /// What a change of an L2 entry makes of it; nothing if it stays as it is.
  using EntryChange = std::function<std::optional<L2Mapping>(
      const L2Mapping& old, GuestOffset cluster, std::uint32_t subclusters)>;

  void require_readable() const;
  void require_writable() const;
  /// Runs a changing request beside others. An image that turns out to be damaged is marked so.
  template <typename Work>
  void change(Work work) {
    require_writable();
    require_readable();
    const RequestGate::Shared inside(gate_);
    marking_corruption([&] {
      metadata_.before_change();
      work();
    });
  }
  /// The same for a request that changes a range of the disk.
  template <typename Work>
  void change_disk(GuestOffset guest_offset, std::uint64_t length_bytes, Work work) {
    change([&] {
      bitmaps_.note(guest_offset, length_bytes);
      work();
    });
  }
  /// Runs a change of the image as a whole, alone, with everything on the disk.
  template <typename Work>
  void change_alone(Work work) {
    require_writable();
    const RequestGate::Exclusive alone(gate_);
    marking_corruption([&] {
      metadata_.flush();
      metadata_.before_change();
      try {
        work();
      } catch (...) {
        // The change may have come so far that it is one.
        virtual_size_ = metadata_.header().size;
        throw;
      }
    });
  }
  template <typename Work>
  void marking_corruption(Work work) {
    try {
      work();
    } catch (const CorruptImage& error) {
      if (error.is_about(*storage_)) metadata_.mark_corrupt();
      throw;
    }
  }
  /// Runs `attempt`, and where space runs out, flushes and runs it again: freed clusters become
  /// usable with a flush only.
  template <typename Attempt>
  auto reclaiming(Attempt attempt) {
    try {
      return attempt();
    } catch (const Error& error) {
      if (error.code() != std::errc::no_space_on_device || !metadata_.can_reclaim()) throw;
    }
    metadata_.flush();
    return attempt();
  }
  GuestOffset cluster_start(GuestOffset o) const noexcept {
    return {geometry_.cluster_start(o.value)};
  }
  GuestOffset cluster_end(
      GuestOffset o) const noexcept {  // of the cluster that ends at or behind `o`
    return {geometry_.cluster_start(o.value + geometry_.cluster_size() - 1)};
  }
  /// Bytes from `o` to the end of what its L2 table describes.
  std::uint64_t left_in_table(GuestOffset o) const noexcept {
    return geometry_.l1_entry_covers() - (o.value & (geometry_.l1_entry_covers() - 1));
  }
  /// A bit for each subcluster of `cluster` that the range [begin, end) touches.
  std::uint32_t subclusters_in(GuestOffset cluster, GuestOffset begin,
                               GuestOffset end) const noexcept;
  L2Mapping decode(RawL2Entry raw, GuestOffset guest_offset) const {
    return metadata_.map().decode(raw, guest_offset);
  }
  bool uses_data_file() const noexcept { return uses_data_file_; }

  // Data in host clusters that the guest has (qcow2_encryption.cc where it is encrypted).
  void write_data(GuestOffset guest_offset, HostOffset host_offset,
                  std::span<const std::byte> from);
  void write_zero_data(GuestOffset guest_offset, HostOffset host_offset,
                       std::uint64_t length_bytes);
  EncryptedRun encrypted_run(GuestOffset guest_offset, HostOffset host_offset) const;

  // What the requests of the same name do, for those that are inside the gate already.
  void write_inside(GuestOffset guest_offset, std::span<const std::byte> from);
  void write_in_place_inside(GuestOffset guest_offset, std::uint64_t length_bytes,
                             const Image::FillRun& fill);
  bool write_zeroes_inside(GuestOffset guest_offset, std::uint64_t length_bytes,
                           ZeroOptions options);
  void discard_inside(GuestOffset guest_offset, std::uint64_t length_bytes);

  // The area behind the disk (qcow2_vm_state.cc).
  GuestOffset vm_state_begin() const noexcept {
    return {align_up(virtual_size(), geometry_.l1_entry_covers())};
  }
  bool is_vm_state(GuestOffset o) const noexcept { return o >= vm_state_begin(); }
  void read_behind_disk(GuestOffset guest_offset, std::span<std::byte> into);
  void cover_with_l1(GuestOffset end);

  // qcow2_resize.cc
  void resize_alone(std::uint64_t size_bytes, const ResizeOptions& options);
  void grow(std::uint64_t size_bytes, Preallocation preallocation);
  void zero_behind_old_end(GuestOffset old_end, GuestOffset end);
  void zero_tail(GuestOffset begin, GuestOffset end, bool is_backed);
  std::vector<HostRange> copy_table_start(L1Entry table, HostOffset copy, std::uint64_t first_gone);
  void shrink(std::uint64_t size_bytes);
  ClusterTree cluster_tree() noexcept {
    return {*storage_, metadata_.refcounts(), metadata_.map().rules()};
  }

  // qcow2_preallocate.cc
  void preallocate(GuestOffset begin, GuestOffset end, Preallocation preallocation);
  void grow_data_file(GuestOffset begin, GuestOffset end, Preallocation preallocation);
  GuestOffset preallocate_tables(GuestOffset begin, GuestOffset end, std::uint64_t tables_max,
                                 Preallocation preallocation);
  GuestOffset preallocate_in_table(GuestOffset begin, GuestOffset end, Preallocation preallocation);
  void fill_entries(std::byte* tables, std::uint64_t index, HostOffset host_offset,
                    std::uint64_t length_bytes) const;
  void provide_zeroes(GuestOffset guest_offset, HostOffset host_offset, std::uint64_t length_bytes,
                      bool reads_as_zero, Preallocation preallocation);

  // qcow2_amend.cc
  void upgrade();
  void downgrade();
  void change_key_slots(KeySlotChange change, bool force);

  // qcow2_write.cc
  using MoveRun = std::function<void(const WritePlan& plan, GuestOffset begin, GuestOffset end)>;
  std::uint64_t allocate_and_move(GuestOffset begin, GuestOffset end, const MoveRun& move);
  WritePlan plan_write(GuestOffset begin, GuestOffset end);
  void reserve(WritePlan& plan);
  void set_fill(WritePlan& plan, GuestOffset begin, GuestOffset end) const;
  void move_with_copy(const WritePlan& plan, GuestOffset begin, std::span<const std::byte> from);
  void write_joined(const WritePlan& plan, GuestOffset begin, const Buffer& head,
                    std::span<const std::byte> from, const Buffer& tail);
  std::vector<RawL2Entry> entries_after(const WritePlan& plan) const;
  void free_old(RawL2Entry old_entry, GuestOffset guest_offset, FreedBy by);

  // qcow2_zero.cc
  void change_entries(GuestOffset begin, GuestOffset end, FreedBy by, const EntryChange& change);
  bool is_zeroed_by_entries(GuestOffset guest_offset, std::uint64_t length_bytes);
  bool can_say_zero() const noexcept {
    return metadata_.map().rules().zero_flag || geometry_.extended_l2();
  }
  /// Where a request to zero ends: what lies behind the disk's end may be zeroed with it.
  GuestOffset zeroed_end(GuestOffset end, GuestOffset disk_end) const noexcept {
    return end == disk_end ? GuestOffset{align_up(end.value, geometry_.subcluster_size())} : end;
  }
  bool is_zero_and_unstored(const L2Mapping& mapping, GuestOffset subcluster);
  void write_zero_bytes(GuestOffset guest_offset, std::uint64_t length_bytes);
  void zero_range(GuestOffset begin, GuestOffset end, bool may_unmap, GuestOffset disk_end);
  std::optional<L2Mapping> zeroed(const L2Mapping& old, std::uint32_t subclusters,
                                  bool may_unmap) const;

  void write_stream(GuestOffset guest_offset, std::span<const std::byte> stream);
  std::shared_ptr<const Buffer> decompress(const LayerExtent& extent) const;

  // Constant after construction.
  std::unique_ptr<Storage> storage_;
  std::unique_ptr<Storage> data_file_;
  const Geometry geometry_;  // of refcounts, `metadata_` knows better
  const bool read_only_;
  const CompressionType compression_type_;
  const std::uint32_t crypt_method_;
  const std::shared_ptr<const Secret> secret_;
  bool has_backing_name_;  // changed by who is alone behind `gate_`
  const bool uses_data_file_;
  const bool data_file_raw_;

  std::atomic<std::uint64_t> virtual_size_;
  mutable RequestGate gate_;
  mutable Metadata metadata_;
  mutable Bitmaps bitmaps_;
  GuestRangeLock ranges_;
  std::unique_ptr<const crypto::SectorCipher> cipher_;  // null: not encrypted, or locked
  SectorTraffic traffic_;                               // of encrypted sectors
  DecompressedCache decompressed_;
  std::atomic<bool> wrote_compressed_{false};
  bool closed_ = false;
};

}  // namespace qcowkit::qcow2
