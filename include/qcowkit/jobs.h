// Part of qcowkit. MIT licence; see LICENSE.
//
// Work on whole images. A job takes open images, options, a progress sink and a stop token; it runs
// on the caller's thread plus as many workers as its options say, and returns when all is done.
//
//   CreateOptions create;
//   create.format = "qcow2";
//   create.size_bytes = disk->virtual_size();
//   Image::create("copy.qcow2", create);
//   OpenOptions writable;
//   writable.read_only = false;
//   const auto target = Image::open("copy.qcow2", writable);
//   CopyOptions options;
//   options.target_is_zero = true;
//   copy({disk.get()}, *target, options);
//   target->close();  // durable, or throws
//
// All jobs: images stay the caller's. Guests may read them meanwhile; what is written to them
// meanwhile is in the result or not. Failures throw `Error`: that of the image, its message
// starting with the image's name; `Errc::invalid_argument` for options that do not go together; and
// `Errc::cancelled` once a stop was requested, which leaves what is done so far.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "qcowkit/image.h"

namespace qcowkit {

/// Tells what an image calls data and its file has nothing for, as preallocation leaves it behind.
/// Looking for that costs system calls; so it is done, as the reference does it, only in files that
/// occupy clearly less than their clusters in use. Used by one thread at a time; the image and its
/// chain are not written meanwhile.
class HoleFinder {
 public:
  explicit HoleFinder(Image& image);
  ~HoleFinder();
  HoleFinder(HoleFinder&& other) noexcept;
  HoleFinder& operator=(HoleFinder&& other) noexcept;

  /// Cuts an extent, of which `image.map` told, to where data and holes of the file meet; true if
  /// it is a hole, and so reads as zeroes. Throws `Error` (errno) if the file cannot be asked.
  bool cut(Extent& extent);

 private:
  struct Layer;
  Layer& layer_at(std::uint32_t depth);

  std::vector<Layer> layers_;  ///< by depth
};

/// How `copy` copies.
struct CopyOptions {
  /// Runs of zeroes of at least this many bytes inside data are not written (multiple of 512); 0:
  /// everything is written, the target fully allocated, and the source is not asked for holes.
  std::uint64_t sparse_bytes = 4096;
  bool compress = false;             ///< whole clusters, into a format that has compressed ones
  int compression_level = 0;         ///< as in `Image::compress`
  std::uint32_t workers = 0;         ///< parallel workers; 0: as many as there are cores
  bool out_of_order_writes = false;  ///< the target's clusters may be allocated in any order
  bool target_is_zero = false;       ///< a new target: zeroes need not be written
  /// A new target with a backing file (`convert -B`): what `shared_base` provides is skipped,
  /// zeroes are written. Only with one source, and without `target_is_zero`.
  bool target_has_backing = false;
  /// With `target_has_backing`: the image in the source's chain that equals the target's backing
  /// file; what it and those behind it provide is not copied. Null: nothing is skipped; what no
  /// layer provides is written as zeroes, so that the target's backing file does not show through.
  Image* shared_base = nullptr;
  /// The part of the only source that is copied, to the target's start: a guest offset, and a
  /// length (without: the rest). A part that reaches beyond the source's end ends there.
  std::uint64_t source_offset_bytes = 0;
  std::optional<std::uint64_t> length_bytes = {};
  /// Bytes of data that are copied in a second; holes cost nothing. 0: no limit.
  std::uint64_t bytes_per_second = 0;
  /// If set, sectors that cannot be read are taken for zeroes and told of here, in order: where
  /// they lie in the target, and what was wrong. From one thread at a time.
  std::function<void(std::uint64_t guest_offset, const Error& error)> on_read_error = {};
  ProgressSink progress = {};
  std::stop_token stop = {};
};

/// Copies the sources, one behind the other, into `target`, which must be at least as large as all
/// of them together (`Errc::invalid_argument`). Blocks are shared where both files lie on a file
/// system that can. Does not flush or close. Throws `Errc::unsupported` if `target` cannot be
/// compressed. A copy that fails leaves a target that is sound, with part of the content.
void copy(const std::vector<Image*>& sources, Image& target, const CopyOptions& options);

/// How `commit` commits.
struct CommitOptions {
  bool keep_top = false;               ///< leave in the top image what has been committed
  std::uint32_t workers = 0;           ///< parallel workers; 0: as many as there are cores
  std::uint64_t bytes_per_second = 0;  ///< as in `CopyOptions`
  ProgressSink progress = {};
  std::stop_token stop = {};
};

/// Copies what `top` and the images between say differently into `base`, an image of `top`'s
/// backing chain, which grows if `top` is larger. `base` then reads as `top` does, for as long as
/// `top` is; the images between, if any, are of no use any more. `top` is emptied unless
/// `keep_top` is set: to be set where there are images between, through which an empty top would
/// read.
///
/// `base` is opened for writing meanwhile and is durable on return; a crash leaves a top image that
/// reads as it did before. Throws `Error` (invalid_argument) if `base` is not behind `top`.
void commit(Image& top, Image& base, const CommitOptions& options = {});

/// How `rebase` rebases, and onto what.
struct RebaseOptions {
  std::string backing_file = {};    ///< as it is to be stored; empty: none
  std::string backing_format = {};  ///< as it is to be stored; empty: none stored
  bool compress = false;            ///< store the clusters that are merged compressed
  int compression_level = 0;        ///< as in `Image::compress`
  std::uint32_t workers = 0;        ///< parallel workers; 0: as many as there are cores
  ProgressSink progress = {};
  std::stop_token stop = {};
};

/// Gives `image` another backing file, `new_backing` (null: none), and keeps what its guest reads:
/// clusters that it leaves to its backing file, and that would read differently, are merged into
/// it. Only what differs between the two chains is looked at: images that both have in common are
/// not, nor are known zeroes.
///
/// Durable on return; a crash leaves an image that reads as it did before, over the one backing
/// file or the other. `image` keeps its old backing file open; close it and open it again. Throws
/// `Errc::unsupported` for compression that the format does not have.
void rebase(Image& image, Image* new_backing, const RebaseOptions& options);

/// How `compare` compares.
struct CompareOptions {
  bool strict = false;  ///< sizes and allocation must be equal, too
  ProgressSink progress = {};
  std::stop_token stop = {};
};

/// What `compare` found: the first difference, if there is one.
struct CompareResult {
  enum class Verdict {
    identical,           ///< what both have is equal; see `size_warning`
    sizes_differ,        ///< only with `strict`
    content_differs,     ///< from `guest_offset` on
    allocation_differs,  ///< from `guest_offset` on; only with `strict`
  };
  Verdict verdict = Verdict::identical;
  std::uint64_t guest_offset = 0;  ///< of the first sector (512 bytes) or extent that differs
  bool size_warning = false;       ///< sizes differ, the surplus reads as zeroes
};

/// What `compare` throws where an image cannot be looked into: the image's error, and which part of
/// the work it was.
class CompareError : public Error {
 public:
  enum class What {
    allocation,  ///< how the bytes are stored
    data,        ///< the bytes themselves
  };
  CompareError(const Error& error, What what, bool of_second, std::uint64_t at_guest_offset)
      : Error(error), what_failed(what), is_second(of_second), guest_offset(at_guest_offset) {}

  const What what_failed;
  const bool is_second;              ///< of the two images
  const std::uint64_t guest_offset;  ///< where what could not be looked into begins
};

/// Compares what two guests would read. Where one disk is longer, what it has more counts as equal
/// if it reads as zeroes (not with `strict`). Ranges that are known to be zeroes in both are not
/// read. Throws `CompareError`.
CompareResult compare(Image& first, Image& second, const CompareOptions& options = {});

/// Which requests `time_requests` makes.
struct BenchOptions {
  bool write = false;           ///< write requests, not read requests
  std::uint64_t count = 75000;  ///< how many requests
  std::uint32_t depth = 64;     ///< how many of them at once, at most
  std::uint64_t request_bytes = 4096;
  std::uint64_t offset = 0;  ///< guest offset of the first request
  /// From one request's offset to the next one's, modulo the disk's size.
  std::uint64_t step_bytes = 4096;
  std::byte pattern{0};               ///< what is written
  std::uint64_t flush_interval = 0;   ///< flush after so many write requests; 0: never
  bool flushes_among_writes = false;  ///< do not wait for the writes before a flush, nor for it
  std::stop_token stop = {};
};

/// Makes requests of one kind, a step apart, and returns how long they took. They are made by as
/// many threads as it takes to keep the machine busy, and never more than `depth`. Throws `Error`:
/// that of the first request that failed; EIO for one that reaches beyond the disk's end;
/// `Errc::limit_exceeded` for numbers of more than 31 bits.
std::chrono::nanoseconds time_requests(Image& image, const BenchOptions& options);

/// How large an image's file would be, as `measure` tells.
struct Measurement {
  std::uint64_t required_bytes = 0;         ///< file size of the new image
  std::uint64_t fully_allocated_bytes = 0;  ///< file size once every sector is written
  /// What the source's bitmaps would take beside that; nothing where one of both has no bitmaps.
  std::optional<std::uint64_t> bitmaps_bytes;
};

/// The size that an image made with `target` would have: empty (of `target.size_bytes`), or holding
/// what `source` holds, which is mapped for that, not read; uncompressed. Throws
/// `Errc::unsupported` for formats other than raw, qcow2 and luks.
Measurement measure(const CreateOptions& target, Image* source = nullptr);

}  // namespace qcowkit
