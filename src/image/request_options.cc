#include "image/request_options.h"

#include <algorithm>

#include "base/zero_detect.h"
#include "storage/forwarding_storage.h"

namespace qcowkit {

namespace {

class RequestOptionsStorage final : public ForwardingStorage {
 public:
  RequestOptionsStorage(std::unique_ptr<Storage> child, const OpenOptions& options)
      : ForwardingStorage(std::move(child)),
        ignores_discards_(options.ignore_discards),
        detect_zeroes_(options.detect_zeroes) {}

  void writev(std::uint64_t host_offset, std::span<const iovec> from) override {
    if (detect_zeroes_ == DetectZeroes::off || !std::ranges::all_of(from, is_zero_buffer)) {
      child().writev(host_offset, from);
      return;
    }
    std::uint64_t length = 0;
    for (const iovec& buffer : from) length += buffer.iov_len;
    write_zeroes(host_offset, length, {.may_unmap = detect_zeroes_ == DetectZeroes::unmap});
  }
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override {
    options.may_unmap = options.may_unmap && !ignores_discards_;
    return child().write_zeroes(host_offset, length_bytes, options);
  }
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override {
    if (!ignores_discards_) child().discard(host_offset, length_bytes);
  }

 private:
  static bool is_zero_buffer(const iovec& buffer) noexcept {
    return is_zero({static_cast<const std::byte*>(buffer.iov_base), buffer.iov_len});
  }

  const bool ignores_discards_;
  const DetectZeroes detect_zeroes_;
};

}  // namespace

std::unique_ptr<Storage> with_request_options(std::unique_ptr<Storage> child,
                                              const OpenOptions& options) {
  if (!options.ignore_discards && options.detect_zeroes == DetectZeroes::off) return child;
  return std::make_unique<RequestOptionsStorage>(std::move(child), options);
}

}  // namespace qcowkit
