// Zstandard frames, written one a cluster and read as the format allows: several may make a
// cluster.
#include "codec/zstd.h"

#include <zstd.h>

#include <cstdint>
#include <new>

#include "base/endian.h"

namespace qcowkit::codec {

namespace {

/// The default of the library, and of the reference.
constexpr int kDefaultLevel = 3;

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const noexcept { ZSTD_freeDCtx(context); }
};

class ZstdCompressor final : public Compressor {
 public:
  explicit ZstdCompressor(int level) : context_(ZSTD_createCCtx()) {
    if (context_ == nullptr) throw std::bad_alloc();
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level);
  }

  std::size_t compress(std::span<const std::byte> cluster,
                       std::span<std::byte> into) noexcept override {
    const std::size_t length =
        ZSTD_compress2(context_.get(), into.data(), into.size(), cluster.data(), cluster.size());
    return ZSTD_isError(length) ? 0 : length;
  }

 private:
  std::unique_ptr<ZSTD_CCtx, FreeContext> context_;
};

/// True where `from` starts with a frame of the format as it is now. The library may know the
/// frames of versions before 1.0, too, whose decoders strangers' input had better not reach.
bool starts_with_frame(std::span<const std::byte> from) noexcept {
  if (from.size() < sizeof(std::uint32_t)) return false;
  const std::uint32_t magic = detail::byte_swap(load_big_endian<std::uint32_t>(from.data()));
  return magic == ZSTD_MAGICNUMBER ||
         (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

}  // namespace

std::unique_ptr<Compressor> make_zstd_compressor(int level) {
  return std::make_unique<ZstdCompressor>(level == 0 ? kDefaultLevel : level);
}

bool unzstd_cluster(std::span<const std::byte> from, std::span<std::byte> cluster) noexcept {
  thread_local const std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  if (context == nullptr) return false;
  // Each frame is decoded in one call, straight to its place: then the cluster itself is the
  // window, and no frame can make the library allocate the gigabytes that it may ask for.
  while (!cluster.empty()) {
    if (!starts_with_frame(from)) return false;
    const std::size_t frame_length = ZSTD_findFrameCompressedSize(from.data(), from.size());
    if (ZSTD_isError(frame_length)) return false;
    const std::size_t length = ZSTD_decompressDCtx(context.get(), cluster.data(), cluster.size(),
                                                   from.data(), frame_length);
    if (ZSTD_isError(length)) return false;
    from = from.subspan(frame_length);
    cluster = cluster.subspan(length);
  }
  return true;
}

}  // namespace qcowkit::codec
