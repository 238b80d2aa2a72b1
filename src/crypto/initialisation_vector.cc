#include "crypto/initialisation_vector.h"

#include <cstring>

#include "crypto/little_endian.h"

namespace qcowkit::crypto {

void IvGenerator::fill(std::uint64_t first_sector, std::size_t iv_bytes,
                       std::span<std::byte> into) const noexcept {
  constexpr std::uint64_t kLow32Bits = 0xffffffff;
  std::memset(into.data(), 0, into.size());
  for (std::size_t at = 0; at < into.size(); at += iv_bytes, ++first_sector) {
    const bool is_short = rule_ == IvRule::plain;
    store_little_endian(into.data() + at, is_short ? first_sector & kLow32Bits : first_sector);
  }
  if (cipher_) cipher_->encrypt(into);
}

}  // namespace qcowkit::crypto
