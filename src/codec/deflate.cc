// Raw deflate streams. Three libraries, each where it is the fastest that can do the job: ISA-L
// writes at the low levels, zlib at the high ones and where ISA-L is not installed; libdeflate,
// which cannot limit its window and so must not write, reads; and zlib reads what libdeflate
// refuses though the format allows it.
#include "codec/deflate.h"

#include <libdeflate.h>
#include <zlib.h>

#include <algorithm>
#include <cassert>
#include <limits>
#include <new>
#include <vector>

#include "codec/isal_library.h"

namespace qcowkit::codec {

namespace {

/// Readers of the format may keep no more than the last 4 KiB: no match may reach further back.
constexpr int kWindowBits = 12;
/// What other writers did is read with any window that deflate has.
constexpr int kWindowBitsOfReader = 15;
/// zlib's default; more of it does not make clusters smaller.
constexpr int kZlibMemoryLevel = 8;

/// ISA-L's best level: its output is 5 % larger than zlib's level 6 (9 % at worst, for program
/// sources) at ten times the speed. Its level 1 would be half as fast again, but up to 14 % larger.
constexpr int kDefaultLevel = 3;
constexpr int kIsalLevelMax = 3;

/// The libraries count in 32 bits, and the longest cluster has 2 MiB.
std::uint32_t length_of(std::span<const std::byte> bytes) noexcept {
  assert(bytes.size() <= std::numeric_limits<std::uint32_t>::max());
  return static_cast<std::uint32_t>(bytes.size());
}

/// The C interfaces want to write to what they only read.
std::uint8_t* input_of(std::span<const std::byte> bytes) noexcept {
  return reinterpret_cast<std::uint8_t*>(const_cast<std::byte*>(bytes.data()));
}

std::uint8_t* output_of(std::span<std::byte> bytes) noexcept {
  return reinterpret_cast<std::uint8_t*>(bytes.data());
}

class IsalCompressor final : public Compressor {
 public:
  IsalCompressor(const IsalLibrary& isal, int level)
      : isal_(isal), level_(static_cast<std::uint32_t>(level)) {}

  std::size_t compress(std::span<const std::byte> cluster,
                       std::span<std::byte> into) noexcept override {
    isal_.deflate_stateless_init(&stream_);
    stream_.level = level_;
    stream_.level_buf = level_memory_.data();
    stream_.level_buf_size = static_cast<std::uint32_t>(level_memory_.size());
    stream_.hist_bits = kWindowBits;
    stream_.gzip_flag = IGZIP_DEFLATE;
    stream_.flush = NO_FLUSH;
    stream_.end_of_stream = 1;
    stream_.next_in = input_of(cluster);
    stream_.avail_in = length_of(cluster);
    stream_.next_out = output_of(into);
    stream_.avail_out = length_of(into);
    return isal_.deflate_stateless(&stream_) == COMP_OK ? stream_.total_out : 0;
  }

 private:
  const IsalLibrary& isal_;
  const std::uint32_t level_;
  isal_zstream stream_;
  std::vector<std::uint8_t> level_memory_ = std::vector<std::uint8_t>(
      std::max({ISAL_DEF_LVL1_DEFAULT, ISAL_DEF_LVL2_DEFAULT, ISAL_DEF_LVL3_DEFAULT}));
};

class ZlibCompressor final : public Compressor {
 public:
  explicit ZlibCompressor(int level) {
    if (deflateInit2(&stream_, level, Z_DEFLATED, -kWindowBits, kZlibMemoryLevel,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
      throw std::bad_alloc();
    }
  }
  ~ZlibCompressor() override { deflateEnd(&stream_); }
  ZlibCompressor(const ZlibCompressor&) = delete;
  ZlibCompressor& operator=(const ZlibCompressor&) = delete;

  std::size_t compress(std::span<const std::byte> cluster,
                       std::span<std::byte> into) noexcept override {
    deflateReset(&stream_);
    stream_.next_in = input_of(cluster);
    stream_.avail_in = length_of(cluster);
    stream_.next_out = output_of(into);
    stream_.avail_out = length_of(into);
    return deflate(&stream_, Z_FINISH) == Z_STREAM_END ? into.size() - stream_.avail_out : 0;
  }

 private:
  z_stream stream_{};
};

/// Reads a stream that libdeflate did not turn into exactly a cluster: it may be longer, or lack
/// its final block. Like the reference, takes any that fills the cluster before an error is met.
bool inflate_until_full(std::span<const std::byte> from, std::span<std::byte> cluster) noexcept {
  z_stream stream{};
  if (inflateInit2(&stream, -kWindowBitsOfReader) != Z_OK) return false;
  stream.next_in = input_of(from);
  stream.avail_in = length_of(from);
  stream.next_out = output_of(cluster);
  stream.avail_out = length_of(cluster);
  const int result = inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  return stream.avail_out == 0 && (result == Z_STREAM_END || result == Z_BUF_ERROR);
}

struct FreeDecompressor {
  void operator()(libdeflate_decompressor* d) const noexcept { libdeflate_free_decompressor(d); }
};

}  // namespace

std::unique_ptr<Compressor> make_deflate_compressor(int level) {
  if (level == 0) level = kDefaultLevel;
  const IsalLibrary* const isal = level <= kIsalLevelMax ? IsalLibrary::find() : nullptr;
  if (isal != nullptr) return std::make_unique<IsalCompressor>(*isal, level);
  return std::make_unique<ZlibCompressor>(level);
}

bool inflate_cluster(std::span<const std::byte> from, std::span<std::byte> cluster) noexcept {
  thread_local const std::unique_ptr<libdeflate_decompressor, FreeDecompressor> decompressor(
      libdeflate_alloc_decompressor());
  std::size_t length = 0;
  if (decompressor != nullptr &&
      libdeflate_deflate_decompress(decompressor.get(), from.data(), from.size(), cluster.data(),
                                    cluster.size(), &length) == LIBDEFLATE_SUCCESS) {
    return length == cluster.size();
  }
  return inflate_until_full(from, cluster);
}

}  // namespace qcowkit::codec
