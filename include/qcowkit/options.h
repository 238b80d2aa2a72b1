// Part of qcowkit. MIT licence; see LICENSE.
//
// What images are opened, created and changed with: plain values with the defaults of the
// reference's tools.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "qcowkit/secret.h"
#include "qcowkit/storage.h"

namespace qcowkit {

struct NodeObjects;  // qcowkit/node.h

/// How compressed clusters are compressed (qcow2 spec, "Additional fields": compression_type).
enum class CompressionType : std::uint8_t { deflate = 0, zstd = 1 };

/// Called now and then with how much of the work is done, 0 to 1. From one thread at a time.
using ProgressSink = std::function<void(double fraction)>;

/// Which files an image may make the library open: its backing file and its external data file,
/// and theirs. The default follows every reference, as the reference implementation does. Files
/// that the caller's own options name are not asked for. See docs/security.md.
struct References {
  /// Called with the resolved path of each referenced file before it is opened (of what is no file:
  /// with its name, as in "nbd://host/disk"); false refuses it (`Errc::reference_refused`). The
  /// path may lead through symbolic links. Empty: everything is allowed.
  std::function<bool(const std::string& path)> allow = {};
  /// Longest backing chain that is opened, counted in images.
  std::uint32_t chain_depth_max = 1024;

  /// Follows nothing: for images from strangers.
  static References none() {
    References references;
    references.allow = [](const std::string&) { return false; };
    return references;
  }
};

/// Which snapshot is meant: the one with this id, this name, or both. With neither: none.
struct SnapshotSelector {
  std::string id = {};
  std::string name = {};

  /// The snapshot whose id is `text` or, if there is none, whose name is.
  static SnapshotSelector id_or_name(std::string text) {
    SnapshotSelector selector{text, std::move(text)};
    selector.either = true;
    return selector;
  }
  bool empty() const noexcept { return id.empty() && name.empty(); }

  bool either = false;  ///< `id` or `name` suffices
};

/// Kinds of metadata that a write is checked against before it is made, as the reference has them
/// ("overlap-check"). A write that would hit one is refused, and the image is marked corrupt.
namespace overlap {
inline constexpr std::uint32_t kMainHeader = 1u << 0;
inline constexpr std::uint32_t kActiveL1 = 1u << 1;
inline constexpr std::uint32_t kActiveL2 = 1u << 2;
inline constexpr std::uint32_t kRefcountTable = 1u << 3;
inline constexpr std::uint32_t kRefcountBlock = 1u << 4;
inline constexpr std::uint32_t kSnapshotTable = 1u << 5;
inline constexpr std::uint32_t kInactiveL1 = 1u << 6;
inline constexpr std::uint32_t kInactiveL2 = 1u << 7;
inline constexpr std::uint32_t kBitmapDirectory = 1u << 8;

inline constexpr std::uint32_t kNone = 0;
/// Those whose place needs no look-up.
inline constexpr std::uint32_t kConstant =
    kMainHeader | kRefcountTable | kSnapshotTable | kActiveL1 | kBitmapDirectory;
/// And those that are known once they have been used.
inline constexpr std::uint32_t kCached = kConstant | kActiveL2 | kRefcountBlock | kInactiveL1;
/// And those that have to be read for it.
inline constexpr std::uint32_t kAll = kCached | kInactiveL2;
}  // namespace overlap

/// Which freed clusters are passed on to the storage as discards.
struct DiscardPassThrough {
  bool request = true;   ///< by a discard request of the guest
  bool snapshot = true;  ///< by a deleted snapshot
  bool other = true;     ///< by anything else
};

/// Whether passphrases are asked for where an image is encrypted.
enum class Unlock : std::uint8_t {
  never,        ///< none is looked up: only metadata is of interest
  if_possible,  ///< without one, metadata can be asked for and changed
  required,     ///< without one, the image is refused
};

/// What becomes of written zeroes.
enum class DetectZeroes : std::uint8_t {
  off,    ///< written as they are
  on,     ///< turned into a request to write zeroes
  unmap,  ///< and their space is given back
};

/// What `Image::open` takes.
struct OpenOptions {
  /// "raw", "qcow2", "qcow" or "luks"; empty: the file's first bytes decide. Then a raw image
  /// refuses writes that would make it look like another format's.
  std::string format = {};
  bool read_only = true;
  CacheMode cache = CacheMode::writeback;
  Locking locking = Locking::automatic;
  References references = {};
  /// False: the chain is not opened, and what it would provide reads as zeroes.
  bool open_backing = true;
  bool open_data_file = true;  ///< false: only metadata can be asked for
  bool for_check = false;      ///< tolerate what `check` can report and repair (dirty, corrupt)
  /// Bounds of the metadata caches in bytes; 0: the default (L2: enough for 256 GiB at 64 KiB
  /// clusters, and never more than the disk needs; refcounts: 1 MiB).
  std::uint64_t l2_cache_bytes = 0;
  std::uint64_t refcount_cache_bytes = 0;
  /// The unit of the L2 cache in bytes, a power of two from 512 to a cluster; 0: the engine's own,
  /// which it uses in any case.
  std::uint64_t l2_cache_entry_bytes = 0;
  /// Whether freed clusters are discarded in the storage (holes are punched), by what freed them.
  DiscardPassThrough discard_pass_through = {};
  /// Keep refcounts on the disk up to date only now and then (qcow2 version 3); without a value, as
  /// the image says.
  std::optional<bool> lazy_refcounts = {};
  /// Cached metadata that nothing has used for this long gives its memory back; 0: never.
  std::uint32_t cache_clean_interval_seconds = 0;
  bool ignore_discards = false;                    ///< discard requests succeed and do nothing
  DetectZeroes detect_zeroes = DetectZeroes::off;  ///< looked for in each write
  /// Who is told of the engine's events (`qcowkit/events.h`), for this image and its chain.
  std::shared_ptr<EventListener> listener = {};
  /// A sum of kinds in the namespace `overlap`.
  std::uint32_t overlap_checks = overlap::kCached;
  /// The passphrase of an encrypted image. Without it, metadata can be asked for and changed.
  std::shared_ptr<const Secret> secret = {};
  Unlock unlock = Unlock::if_possible;
  /// What the options of nodes refer to by its id (`qcowkit/node.h`).
  std::shared_ptr<const NodeObjects> objects = {};
  /// Told of contents that differ before the request fails, where nodes compare several copies
  /// ("blkverify", "quorum"). Called by any thread.
  std::function<void(const std::string& message)> on_mismatch = {};
  /// Shows the disk as this internal snapshot holds it; read-only.
  SnapshotSelector snapshot = {};
  /// How the backing file is opened; null: as this image is, but for secret and snapshot. Its
  /// `format`, if not empty, goes before what the image says. Always read-only. Where its
  /// `references` allow everything, this image's hold.
  std::shared_ptr<const OpenOptions> backing = {};
  /// The path of the file that is opened as backing file, whichever the image names; empty: the
  /// one that it names.
  std::string backing_file = {};
};

/// How an image's data is encrypted.
enum class EncryptionFormat : std::uint8_t {
  none,
  aes,  ///< the old AES-CBC method (qcow, qcow2): weak, for old images only
  luks  ///< LUKS version 1
};

/// What a new LUKS volume is made with (LUKS1 On-Disk Format). Names are those of the reference's
/// options; empty ones mean the default, which each comment gives.
struct LuksOptions {
  std::string cipher_alg = {};      ///< "aes-256"
  std::string cipher_mode = {};     ///< "xts"
  std::string ivgen_alg = {};       ///< "plain64"; "none" with mode ecb
  std::string ivgen_hash_alg = {};  ///< "sha256" with ivgen essiv
  std::string hash_alg = {};        ///< "sha256"
  std::uint64_t iter_time_ms = 0;   ///< time that unlocking is to take; 0: 2000
};

/// What `Image::create` makes. Empty optionals mean the default of the format. Values that the
/// format does not have, or that do not go together, throw `Errc::invalid_argument`.
struct CreateOptions {
  std::string format = "raw";  ///< "raw", "qcow2", "qcow" or "luks"
  /// The disk's virtual size; may be absent where there is a backing file to ask.
  std::optional<std::uint64_t> size_bytes = {};
  Preallocation preallocation = Preallocation::off;
  CacheMode cache = CacheMode::writeback;  ///< how the new file is written

  // qcow2 (qcow2 spec, Header), and some of qcow

  std::uint32_t version = 3;             ///< 2 (compat=0.10) or 3 (compat=1.1)
  std::uint64_t cluster_size_bytes = 0;  ///< 0: 65536; 512 to 2 MiB, a power of two
  std::uint32_t refcount_bits = 16;      ///< 1 to 64, a power of two; version 2: 16
  bool lazy_refcounts = false;           ///< version 3
  bool extended_l2 = false;              ///< version 3, clusters of at least 16 KiB
  CompressionType compression = CompressionType::deflate;
  std::string backing_file = {};    ///< as it is to be stored
  std::string backing_format = {};  ///< as it is to be stored; empty: none stored
  std::string data_file = {};       ///< as it is to be stored; created (emptied) as well
  bool data_file_raw = false;       ///< the data file is a raw image of the disk by itself
  bool open_backing = true;         ///< false: do not look at the backing file (`-u`)
  References references = {};       ///< whether the backing file may be looked at

  // qcow, qcow2 and luks

  EncryptionFormat encryption = EncryptionFormat::none;
  LuksOptions luks = {};                      ///< with `EncryptionFormat::luks`
  std::shared_ptr<const Secret> secret = {};  ///< the passphrase of an encrypted image
};

/// A change of a LUKS volume's key slots. The image has to be open with a passphrase of its own
/// where one is added.
struct KeySlotChange {
  bool activate = true;                           ///< add a passphrase, or erase one
  std::shared_ptr<const Secret> new_secret = {};  ///< with `activate`
  std::shared_ptr<const Secret> old_secret = {};  ///< which passphrase to erase
  std::optional<std::uint32_t> key_slot = {};     ///< 0 to 7; without: a free one, all that match
  std::uint64_t iter_time_ms = 0;                 ///< as in `LuksOptions`
  bool force = false;  ///< allow overwriting an active slot and erasing the last one
};

/// What `Image::amend` changes; what is not set stays.
struct AmendOptions {
  std::optional<std::uint64_t> size_bytes = {};    ///< the disk's virtual size
  std::optional<std::uint32_t> version = {};       ///< 2 or 3
  std::optional<std::string> backing_file = {};    ///< empty: none
  std::optional<std::string> backing_format = {};  ///< empty: none stored
  std::optional<bool> lazy_refcounts = {};
  std::optional<std::uint32_t> refcount_bits = {};  ///< 1 to 64, a power of two; version 3
  std::optional<std::string> data_file = {};  ///< the name that is stored, of an image that has one
  std::optional<bool> data_file_raw = {};     ///< only off
  std::optional<KeySlotChange> key_slot = {};
  bool force = false;  ///< also what may make the image unreadable
  ProgressSink progress = {};
  std::stop_token stop = {};
};

/// How `Image::resize` changes a disk's size.
struct ResizeOptions {
  Preallocation preallocation = Preallocation::off;  ///< of what is added
  bool may_shrink = false;                           ///< what lies behind the new end is lost
};

}  // namespace qcowkit
