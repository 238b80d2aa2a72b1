// Part of qcowkit. MIT licence; see LICENSE.
//
// What images tell of themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "qcowkit/options.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// What the guest finds in a range, and where its bytes lie.
enum class ExtentKind : std::uint8_t {
  unallocated,  ///< in no layer of the chain: reads as zeroes
  zero,         ///< reads as zeroes because a layer says so
  data,         ///< bytes at `host_offset` of `storage`
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
  /// With `data` that is not encrypted: where. With `zero`: the preallocated host cluster, if there
  /// is one.
  std::optional<std::uint64_t> host_offset;
  /// With `data`: the bytes are stored encrypted, and only `Image::read` and `write` can move them.
  bool is_encrypted = false;
  /// The storage that `host_offset` is in; valid while the image is open.
  Storage* storage = nullptr;
  /// The file's name as the chain's image was opened (what `map` prints), null if none.
  const std::string* file = nullptr;
  /// With `data`: its storage says that it has nothing here, without a promise of zeroes. With
  /// `zero`: it says that these zeroes occupy space. Only servers tell of either (driver "nbd").
  bool has_unusual_space = false;
};

/// An internal snapshot.
struct SnapshotInfo {
  std::string id;
  std::string name;
  std::uint64_t vm_state_size_bytes = 0;
  std::uint32_t date_seconds = 0;  ///< since the Epoch
  std::uint32_t date_nanoseconds = 0;
  std::uint64_t vm_clock_nanoseconds = 0;
  std::optional<std::uint64_t> icount;
  std::uint64_t disk_size_bytes = 0;
};

/// A persistent dirty bitmap.
struct BitmapInfo {
  std::string name;
  std::uint64_t granularity_bytes = 0;
  bool in_use = false;     ///< was not saved: not to be trusted
  bool automatic = false;  ///< enabled: follows every change of the disk
};

/// A run of guest bytes in a bitmap.
struct BitmapExtent {
  std::uint64_t length_bytes = 0;  ///< at least 1
  bool is_dirty = false;
};

/// A LUKS volume's header.
struct LuksInfo {
  std::string cipher_alg;
  std::string cipher_mode;
  std::string ivgen_alg;
  std::string ivgen_hash_alg;  ///< empty: none
  std::string hash_alg;
  std::string uuid;
  std::uint64_t payload_offset_bytes = 0;
  std::uint64_t master_key_iterations = 0;
  struct Slot {
    bool active = false;
    std::uint64_t iterations = 0;  ///< of an active slot
    std::uint64_t stripes = 0;     ///< of an active slot
    std::uint64_t key_offset_bytes = 0;
  };
  std::vector<Slot> slots;
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
  EncryptionFormat encryption = EncryptionFormat::none;
  std::optional<LuksInfo> luks;
  std::string backing_file;           ///< as stored
  std::string backing_file_resolved;  ///< the path that it means
  std::string backing_format;         ///< as stored

  struct Qcow2 {
    std::uint32_t version = 3;
    CompressionType compression = CompressionType::deflate;
    bool lazy_refcounts = false;
    std::uint32_t refcount_bits = 16;
    bool corrupt = false;
    bool extended_l2 = false;
    std::string data_file;
    bool data_file_raw = false;
    std::vector<SnapshotInfo> snapshots;
    std::vector<BitmapInfo> bitmaps;
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

struct CheckOptions {
  Repair repair = Repair::none;
  ProgressSink progress = {};
  std::stop_token stop = {};
};

}  // namespace qcowkit
