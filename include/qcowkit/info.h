// Part of qcowkit. MIT licence; see LICENSE.
//
// What images tell of themselves: plain values, which stay as they are while the image changes.
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

/// A run of guest bytes that are stored alike, contiguous on the host where they are data: what
/// `Image::map` answers.
struct Extent {
  std::uint64_t guest_offset = 0;  ///< in bytes, as it was asked for
  std::uint64_t length_bytes = 0;  ///< at least 1, at most what was asked for
  ExtentKind kind = ExtentKind::unallocated;
  /// The layer that decides: 0 is the image itself, 1 its backing file, ... For `unallocated` the
  /// depth of the last layer whose size covers the range. Always 0 from `map_layer`.
  std::uint32_t depth = 0;
  /// Where the bytes lie in `storage`: with `data` that is not encrypted; with `zero`, the
  /// preallocated host cluster, if there is one.
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

/// An internal snapshot (qcow2 spec, Snapshots).
struct SnapshotInfo {
  std::string id;                         ///< unique in the image, usually a number
  std::string name;                       ///< for people; several may have the same
  std::uint64_t vm_state_size_bytes = 0;  ///< of a machine that was running; 0: only the disk
  std::uint32_t date_seconds = 0;         ///< when it was made, since the Epoch (UTC)
  std::uint32_t date_nanoseconds = 0;
  std::uint64_t vm_clock_nanoseconds = 0;  ///< how long the machine had run
  std::optional<std::uint64_t> icount;     ///< how many instructions it had executed, if counted
  std::uint64_t disk_size_bytes = 0;       ///< the disk's virtual size when it was made
};

/// A persistent dirty bitmap (qcow2 spec, Bitmaps).
struct BitmapInfo {
  std::string name;
  std::uint64_t granularity_bytes = 0;  ///< how much of the disk one bit stands for
  bool in_use = false;                  ///< was not saved: not to be trusted
  bool automatic = false;               ///< enabled: follows every change of the disk
};

/// A run of guest bytes that a bitmap says the same of, from the guest offset that was asked for
/// on.
struct BitmapExtent {
  std::uint64_t length_bytes = 0;  ///< at least 1
  bool is_dirty = false;
};

/// A LUKS volume's header (LUKS1 On-Disk Format, "LUKS phdr"), in the words of `LuksOptions`.
struct LuksInfo {
  std::string cipher_alg;      ///< "aes-256"
  std::string cipher_mode;     ///< "xts"
  std::string ivgen_alg;       ///< "plain64"
  std::string ivgen_hash_alg;  ///< empty: none
  std::string hash_alg;        ///< "sha256"
  std::string uuid;
  std::uint64_t payload_offset_bytes = 0;  ///< where encrypted data begins, from the header's start
  std::uint64_t master_key_iterations = 0;  ///< of PBKDF2, for the master key's checksum
  struct Slot {
    bool active = false;
    std::uint64_t iterations = 0;        ///< of PBKDF2; of an active slot
    std::uint64_t stripes = 0;           ///< of the anti-forensic splitter; of an active slot
    std::uint64_t key_offset_bytes = 0;  ///< where its key material lies, from the header's start
  };
  std::vector<Slot> slots;  ///< all 8
};

/// What `Image::info` tells: one layer, without its backing file.
struct ImageInfo {
  std::string filename;  ///< as the image was opened
  std::string format;    ///< "raw", "qcow2", "qcow", "luks"
  std::uint64_t virtual_size_bytes = 0;
  std::optional<std::uint64_t> allocated_bytes;  ///< host space in use ("disk size")
  std::optional<std::uint64_t> cluster_size_bytes;
  bool dirty = false;  ///< was not closed cleanly: refcounts may be behind (qcow2 version 3)
  bool encrypted = false;
  EncryptionFormat encryption = EncryptionFormat::none;
  std::optional<LuksInfo> luks;       ///< with `EncryptionFormat::luks`
  std::string backing_file;           ///< as stored; empty: none
  std::string backing_file_resolved;  ///< the path that it means
  std::string backing_format;         ///< as stored; empty: none stored

  /// What only qcow2 images have (qcow2 spec, Header and Header extensions).
  struct Qcow2 {
    std::uint32_t version = 3;  ///< 2 or 3
    CompressionType compression = CompressionType::deflate;
    bool lazy_refcounts = false;
    std::uint32_t refcount_bits = 16;  ///< width of a refcount: 1 to 64, a power of two
    bool corrupt = false;              ///< is marked so: to be repaired before it is written
    bool extended_l2 = false;          ///< clusters have subclusters
    std::string data_file;             ///< the external data file, as stored; empty: none
    bool data_file_raw = false;        ///< the data file alone is a raw image of the disk
    std::vector<SnapshotInfo> snapshots;
    std::vector<BitmapInfo> bitmaps;
  };
  std::optional<Qcow2> qcow2;
};

/// What `Image::check` repairs.
enum class Repair {
  none,   ///< nothing: the image is only read
  leaks,  ///< clusters that nothing uses are freed, which cannot do harm
  all,    ///< refcounts, references and flags as well, at the cost of what contradicts the rest
};

/// What `Image::check` found. Counts are of the state before repair unless they say otherwise.
/// Corruption means that data may be lost, now or by the next write; leaks only waste space.
struct CheckReport {
  std::uint64_t corruptions = 0;   ///< left after repair
  std::uint64_t leaks = 0;         ///< left after repair (clusters)
  std::uint64_t check_errors = 0;  ///< structures that could not be read: the rest is incomplete
  std::uint64_t corruptions_fixed = 0;
  std::uint64_t leaks_fixed = 0;
  std::uint64_t total_clusters = 0;       ///< guest clusters of the disk
  std::uint64_t allocated_clusters = 0;   ///< of these, those that have a host cluster
  std::uint64_t fragmented_clusters = 0;  ///< of these, those that do not follow the one before
  std::uint64_t compressed_clusters = 0;  ///< of the allocated ones
  std::uint64_t image_end_offset = 0;     ///< host offset behind the last cluster in use
  /// One line for each finding and each repair, at most `kMessagesMax` of them.
  static constexpr std::size_t kMessagesMax = 10000;
  std::vector<std::string> messages;
};

struct CheckOptions {
  Repair repair = Repair::none;
  ProgressSink progress = {};
  std::stop_token stop = {};  ///< ends the check with `Errc::cancelled`
};

}  // namespace qcowkit
