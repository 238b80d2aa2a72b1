// One open qcow2 image file: the guest's requests.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "formats/layer.h"
#include "formats/decompressed_cache.h"
#include "formats/guest_range_lock.h"
#include "formats/qcow2/header.h"
#include "formats/qcow2/metadata.h"
#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

struct LayerOptions {
  bool read_only = true;
  bool for_check = false;  ///< tolerate the dirty and corrupt bits
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

  std::uint64_t virtual_size() const noexcept override { return virtual_size_; }
  std::uint64_t cluster_size() const noexcept override { return geometry_.cluster_size(); }
  bool is_read_only() const noexcept override { return read_only_; }
  Storage& storage() const noexcept override { return *storage_; }
  Storage& data_storage() const noexcept override { return data_file_ ? *data_file_ : *storage_; }

  LayerExtent map(GuestOffset guest_offset, std::uint64_t length_bytes) override;
  void read_compressed(GuestOffset guest_offset, const LayerExtent& extent,
                       std::span<std::byte> into) override;
  std::uint32_t pin() noexcept override { return metadata_.epochs().enter(); }
  void unpin(std::uint32_t slot) noexcept override { metadata_.epochs().leave(slot); }

  void write(GuestOffset guest_offset, std::span<const std::byte> from) override;
  void write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes, bool may_unmap) override;
  void discard(GuestOffset guest_offset, std::uint64_t length_bytes) override;
  void write_in_place(GuestOffset guest_offset, std::uint64_t length_bytes,
                      const Image::FillRun& fill) override;
  CompressedCluster compress(std::span<const std::byte> cluster, int level) const override;
  void write_compressed(GuestOffset guest_offset, const CompressedCluster& compressed,
                        std::span<const std::byte> plain) override;

  void flush() override;
  void describe(ImageInfo& info) const override;
  CheckReport check(const CheckOptions& options) override;
  void close() override;

 private:
  class Reservation;
  struct WritePlan;
  /// What a change of an L2 entry makes of it; nothing if it stays as it is.
  using EntryChange = std::function<std::optional<L2Mapping>(
      const L2Mapping& old, GuestOffset cluster, std::uint32_t subclusters)>;

  void require_readable() const;
  void before_change();
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
  L2Mapping decode(RawL2Entry raw, GuestOffset guest_offset) const;
  bool uses_data_file() const noexcept { return metadata_.map().rules().data_file; }

  // qcow2_write.cc
  using MoveRun = std::function<void(const WritePlan& plan, GuestOffset begin, GuestOffset end)>;
  void write_retrying(GuestOffset guest_offset, std::span<const std::byte> from);
  std::uint64_t allocate_and_move(GuestOffset begin, GuestOffset end, const MoveRun& move);
  WritePlan plan_write(GuestOffset begin, GuestOffset end);
  void reserve(WritePlan& plan);
  void set_fill(WritePlan& plan, GuestOffset begin, GuestOffset end) const;
  void move_with_copy(const WritePlan& plan, GuestOffset begin, std::span<const std::byte> from);
  std::vector<RawL2Entry> entries_after(const WritePlan& plan) const;
  void free_old(RawL2Entry old_entry, GuestOffset guest_offset);

  // qcow2_zero.cc
  void change_entries(GuestOffset begin, GuestOffset end, const EntryChange& change);
  void write_zero_bytes(GuestOffset guest_offset, std::uint64_t length_bytes);
  void zero_subclusters(GuestOffset begin, GuestOffset end, bool may_unmap);
  std::optional<L2Mapping> zeroed(const L2Mapping& old, std::uint32_t subclusters,
                                  bool may_unmap) const;

  std::shared_ptr<const Buffer> decompress(const LayerExtent& extent) const;

  // Constant after construction.
  std::unique_ptr<Storage> storage_;
  std::unique_ptr<Storage> data_file_;
  const Geometry geometry_;
  const std::uint64_t virtual_size_;
  const bool read_only_;
  const CompressionType compression_type_;
  const bool is_encrypted_;
  const bool has_backing_name_;
  const bool data_file_raw_;

  mutable Metadata metadata_;
  GuestRangeLock ranges_;
  DecompressedCache decompressed_;
  std::atomic<bool> wrote_compressed_{false};
  bool closed_ = false;
};

}  // namespace qcowkit::qcow2
