#include "crypto/anti_forensic.h"

#include <algorithm>
#include <cassert>

#include "base/endian.h"
#include "crypto/random.h"

namespace qcowkit::crypto {

namespace {

void add(std::span<std::byte> to, std::span<const std::byte> what) noexcept {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] ^= what[i];
}

/// Makes each bit depend on all others of its digest's worth.
void diffuse(Hasher& hasher, std::size_t digest_bytes, std::span<std::byte> bytes) noexcept {
  std::uint32_t index = 0;
  for (std::size_t at = 0; at < bytes.size(); at += digest_bytes) {
    const std::span<std::byte> part = bytes.subspan(at, std::min(digest_bytes, bytes.size() - at));
    const be32 number = index++;
    hasher.update(std::as_bytes(std::span(&number, 1)));
    hasher.update(part);
    hasher.digest(part);
  }
}

/// What all stripes but the last come to.
Secret sum_of_stripes(const HashAlgorithm& hash, std::size_t stripe_bytes, std::uint32_t stripes,
                      std::span<const std::byte> from) {
  Hasher hasher(hash);
  Secret sum = Secret::of_size(stripe_bytes);
  for (std::uint32_t i = 0; i + 1 < stripes; ++i) {
    add(sum.bytes(), from.subspan(i * stripe_bytes, stripe_bytes));
    diffuse(hasher, hash.digest_bytes, sum.bytes());
  }
  return sum;
}

}  // namespace

void split_secret(const HashAlgorithm& hash, const Secret& secret, std::uint32_t stripes,
                  std::span<std::byte> into) {
  assert(stripes > 0 && into.size() == stripes * secret.size());
  const std::span<std::byte> last = into.last(secret.size());
  fill_random(into.first(into.size() - last.size()));
  const Secret sum = sum_of_stripes(hash, secret.size(), stripes, into);
  std::copy(secret.bytes().begin(), secret.bytes().end(), last.begin());
  add(last, sum.bytes());
}

Secret merge_secret(const HashAlgorithm& hash, std::size_t secret_bytes, std::uint32_t stripes,
                    std::span<const std::byte> from) {
  assert(stripes > 0 && from.size() == stripes * secret_bytes);
  Secret secret = sum_of_stripes(hash, secret_bytes, stripes, from);
  add(secret.bytes(), from.last(secret_bytes));
  return secret;
}

}  // namespace qcowkit::crypto
