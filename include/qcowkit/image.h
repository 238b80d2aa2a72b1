// Part of qcowkit. MIT licence; see LICENSE.
//
// class Image: the guest's view of one virtual disk, with its backing chain.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "qcowkit/error.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// How compressed clusters are compressed (qcow2 spec, "Additional fields": compression_type).
enum class CompressionType : std::uint8_t { deflate = 0, zstd = 1 };

/// Which files an image may make the library open: its backing file and its external data file.
/// The default follows every reference, as the reference implementation does.
struct References {
  /// Called with the resolved path of each referenced file before it is opened; false refuses
  /// it (`Errc::reference_refused`). Empty: everything is allowed.
  std::function<bool(const std::string& path)> allow;
  /// Longest backing chain that is opened, counted in images.
  std::uint32_t chain_depth_max = 1024;

  /// Follows nothing: for images from strangers.
  static References none() {
    return {[](const std::string&) { return false; }, 1};
  }
};

struct OpenOptions {
  std::string format;  ///< "raw", "qcow2"; empty: probe the file's first bytes
  bool read_only = true;
  CacheMode cache = CacheMode::writeback;
  Locking locking = Locking::automatic;
  References references;
  bool open_backing =
      true;  ///< false: unallocated clusters read as zeroes, the chain is not opened
  bool open_data_file = true;  ///< false: only metadata can be asked for
  bool for_check = false;      ///< tolerate what `check` can report and repair (dirty, corrupt)
  /// Bounds of the metadata caches in bytes; 0: the default (L2: enough for 256 GiB at 64 KiB
  /// clusters, and never more than the disk needs; refcounts: 1 MiB).
  std::uint64_t l2_cache_bytes = 0;
  std::uint64_t refcount_cache_bytes = 0;
  /// Pass discards of freed clusters on to the storage (punch holes).
  bool discard_pass_through = true;
};

/// What `Image::create` makes. Empty optionals mean the default of the format.
struct CreateOptions {
  std::string format = "raw";
  std::optional<std::uint64_t> size_bytes;  ///< may be absent where there is a backing file to ask
  Preallocation preallocation = Preallocation::off;
  CacheMode cache = CacheMode::writeback;

  // qcow2
  std::uint32_t version = 3;             ///< 2 (compat=0.10) or 3 (compat=1.1)
  std::uint64_t cluster_size_bytes = 0;  ///< 0: 65536; 512 to 2 MiB, a power of two
  std::uint32_t refcount_bits = 16;      ///< 1 to 64, a power of two; version 2: 16
  bool lazy_refcounts = false;           ///< version 3
  bool extended_l2 = false;              ///< version 3, clusters of at least 16 KiB
  CompressionType compression = CompressionType::deflate;
  std::string backing_file;    ///< as it is to be stored
  std::string backing_format;  ///< as it is to be stored; empty: none stored
  std::string data_file;       ///< as it is to be stored; created (emptied) as well
  bool data_file_raw = false;
  bool open_backing = true;  ///< false: do not look at the backing file (`-u`)
  References references;
};

/// What the guest finds in a range, and where its bytes lie.
enum class ExtentKind : std::uint8_t {
  unallocated,  ///< in no layer of the chain: reads as zeroes
  zero,         ///< reads as zeroes because a layer says so
  data,         ///< plain bytes at `host_offset` of `storage`
  compressed,   ///< in a compressed cluster
};

/// A run of guest bytes that are stored alike, contiguous on the host where they are data.
struct Extent {
  std::uint64_t guest_offset = 0;
  std::uint64_t length_bytes = 0;
  ExtentKind kind = ExtentKind::unallocated;
  /// The layer that decides: 0 is the image itself, 1 its backing file, ... For `unallocated` the
  /// depth of the last layer whose size covers the range.
  std::uint32_t depth = 0;
  /// With `data`: where. With `zero`: the preallocated host cluster, if there is one.
  std::optional<std::uint64_t> host_offset;
  /// The storage that `host_offset` is in; valid while the image is open.
  Storage* storage = nullptr;
  /// The file's name as the chain's image was opened (what `map` prints), null if none.
  const std::string* file = nullptr;
};

/// One layer as `info` shows it.
struct ImageInfo {
  std::string filename;
  std::string format;
  std::uint64_t virtual_size_bytes = 0;
  std::optional<std::uint64_t> allocated_bytes;  ///< host space in use ("disk size")
  std::optional<std::uint64_t> cluster_size_bytes;
  bool dirty = false;
  bool encrypted = false;
  std::string backing_file;           ///< as stored
  std::string backing_file_resolved;  ///< the path that it means
  std::string backing_format;         ///< as stored

  struct Snapshot {
    std::string id;
    std::string name;
    std::uint64_t vm_state_size_bytes = 0;
    std::uint32_t date_seconds = 0;
    std::uint32_t date_nanoseconds = 0;
    std::uint64_t vm_clock_nanoseconds = 0;
    std::optional<std::uint64_t> icount;
    std::uint64_t disk_size_bytes = 0;
  };
  struct Bitmap {
    std::string name;
    std::uint64_t granularity_bytes = 0;
    bool in_use = false;
    bool automatic = false;
  };
  struct Qcow2 {
    std::uint32_t version = 3;
    CompressionType compression = CompressionType::deflate;
    bool lazy_refcounts = false;
    std::uint32_t refcount_bits = 16;
    bool corrupt = false;
    bool extended_l2 = false;
    std::string data_file;
    bool data_file_raw = false;
    std::vector<Snapshot> snapshots;
    std::vector<Bitmap> bitmaps;
  };
  std::optional<Qcow2> qcow2;
};

enum class Repair { none, leaks, all };

/// What `check` found. Counts are of the state before repair unless they say otherwise.
struct CheckReport {
  std::uint64_t corruptions = 0;   ///< left after repair
  std::uint64_t leaks = 0;         ///< left after repair (clusters)
  std::uint64_t check_errors = 0;  ///< structures that could not be read
  std::uint64_t corruptions_fixed = 0;
  std::uint64_t leaks_fixed = 0;
  std::uint64_t total_clusters = 0;  ///< guest clusters of the disk
  std::uint64_t allocated_clusters = 0;
  std::uint64_t fragmented_clusters = 0;
  std::uint64_t compressed_clusters = 0;
  std::uint64_t image_end_offset = 0;  ///< host offset behind the last cluster in use
  /// One line for each finding and each repair, at most `kMessagesMax` of them.
  static constexpr std::size_t kMessagesMax = 10000;
  std::vector<std::string> messages;
};

/// Called now and then with how much of the work is done, 0 to 1. From one thread at a time.
using ProgressSink = std::function<void(double fraction)>;

struct CheckOptions {
  Repair repair = Repair::none;
  ProgressSink progress;
  std::stop_token stop;
};

/// One compressed cluster, ready to be written. Empty `bytes`: it did not get smaller.
struct CompressedCluster {
  std::vector<std::byte> bytes;
};

/// A virtual disk.
///
/// Thread-safe: all calls but `close` may be made from any number of threads at once; reads that
/// need no metadata from the disk run in parallel. Requests that overlap in time and range end
/// as if made one after the other, in some order, byte by byte. Guest offsets and lengths are in
/// bytes and need no alignment; a range past `virtual_size()` is `Errc::invalid_argument`.
///
/// Every failure throws `Error`, its message starting with the image's name.
class Image {
 public:
  /// Opens the image in `path`, and its chain as `options` allow.
  static std::unique_ptr<Image> open(const std::string& path, const OpenOptions& options = {});
  /// Opens an image that lies in `storage`. Relative names are resolved against `storage->name()`.
  static std::unique_ptr<Image> open(std::unique_ptr<Storage> storage,
                                     const OpenOptions& options = {});
  /// Creates (or replaces) the image in `path`. It is durable on return and not open.
  static void create(const std::string& path, const CreateOptions& options);
  /// Formats `storage`, which is emptied; the storage stays the caller's.
  static void create(Storage& storage, const CreateOptions& options);
  /// The format of the file in `path` by its first bytes ("raw" where no other is recognised).
  static std::string probe(const std::string& path);

  ~Image();  ///< closes, but cannot report: call `close()`
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  const std::string& filename() const noexcept;
  const std::string& format() const noexcept;
  std::uint64_t virtual_size() const noexcept;
  bool is_read_only() const noexcept;
  /// The unit of allocation in bytes; 0 where the format has none (raw).
  std::uint64_t cluster_size() const noexcept;
  /// The image's backing file, null if none is open.
  Image* backing() const noexcept;
  /// The bytes that this image's format lies in.
  Storage& storage() const noexcept;
  /// Where guest data is stored: the external data file, else `storage()`.
  Storage& data_storage() const noexcept;

  void read(std::uint64_t guest_offset, std::span<std::byte> into);
  void write(std::uint64_t guest_offset, std::span<const std::byte> from);
  /// Makes the range read as zeroes. With `may_unmap`, its host space may be given back; without
  /// it, host clusters that are there stay preallocated.
  void write_zeroes(std::uint64_t guest_offset, std::uint64_t length_bytes, bool may_unmap);
  /// Gives whole clusters of the range back. They read as zeroes afterwards (also over a backing
  /// file); parts of clusters are left as they are.
  void discard(std::uint64_t guest_offset, std::uint64_t length_bytes);

  /// Compresses one cluster of guest data. Heavy and lock-free: meant to be called from many
  /// threads at once. `level` 0 is the default of the image's compression type.
  CompressedCluster compress(std::span<const std::byte> cluster, int level = 0) const;
  /// Stores a cluster: compressed where it got smaller, plain otherwise. `guest_offset` is a
  /// multiple of the cluster size and `plain` one cluster (fewer bytes only at the disk's end).
  void write_compressed(std::uint64_t guest_offset, const CompressedCluster& compressed,
                        std::span<const std::byte> plain);

  /// Returns when everything acknowledged before the call is durable.
  void flush();

  /// What the range's first byte is stored as, and for how many bytes (at most `length_bytes`, at
  /// least 1) that answer holds, looking through the whole chain. Valid until the next write to the
  /// image or its chain.
  Extent map(std::uint64_t guest_offset, std::uint64_t length_bytes);
  /// The same for this layer only: `unallocated` means that the backing file decides.
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

  ImageInfo info() const;
  /// Throws `Errc::unsupported` where the format has nothing to check (raw).
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
