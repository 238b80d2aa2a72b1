#include "crypto/key_derivation.h"

#include <fmt/core.h>
#include <nettle/hmac.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <ctime>
#include <limits>

#include "base/checked.h"
#include "base/endian.h"
#include "qcowkit/error.h"

namespace qcowkit::crypto {

namespace {

const std::uint8_t* octets(std::span<const std::byte> bytes) noexcept {
  return reinterpret_cast<const std::uint8_t*>(bytes.data());
}

/// A keyed HMAC, wiped at the end.
class Hmac {
 public:
  Hmac(const HashAlgorithm& hash, std::span<const std::byte> key)
      : hash_(*hash.implementation),
        contexts_(Secret::of_size(3 * align_up(hash_.context_size, 16))) {
    hmac_set_key(outer(), inner(), state(), &hash_, key.size(), octets(key));
  }

  void update(std::span<const std::byte> bytes) noexcept {
    hmac_update(state(), &hash_, bytes.size(), octets(bytes));
  }
  void digest(std::span<std::byte> into) noexcept {
    hmac_digest(outer(), inner(), state(), &hash_, into.size(),
                reinterpret_cast<std::uint8_t*>(into.data()));
  }

 private:
  void* outer() noexcept { return context(0); }
  void* inner() noexcept { return context(1); }
  void* state() noexcept { return context(2); }
  void* context(std::size_t index) noexcept {
    return contexts_.bytes().data() + index * (contexts_.size() / 3);
  }

  const nettle_hash& hash_;
  Secret contexts_;
};

/// One digest's worth of key: the sum of the digests of a chain that starts with the salt.
void derive_block(Hmac& hmac, std::span<const std::byte> salt, std::uint32_t block_number,
                  std::uint32_t iterations, std::span<std::byte> link, std::span<std::byte> sum) {
  const be32 number = block_number;
  hmac.update(salt);
  hmac.update(std::as_bytes(std::span(&number, 1)));
  hmac.digest(link);
  std::copy(link.begin(), link.end(), sum.begin());
  for (std::uint32_t i = 1; i < iterations; ++i) {
    hmac.update(link);
    hmac.digest(link);
    for (std::size_t j = 0; j < link.size(); ++j) sum[j] ^= link[j];
  }
}

double processor_seconds() noexcept {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

}  // namespace

void derive_key(const HashAlgorithm& hash, std::span<const std::byte> passphrase,
                std::span<const std::byte> salt, std::uint32_t iterations,
                std::span<std::byte> into) {
  assert(iterations > 0);
  Hmac hmac(hash, passphrase);
  Secret link = Secret::of_size(hash.digest_bytes);
  Secret sum = Secret::of_size(hash.digest_bytes);
  for (std::uint32_t block_number = 1; !into.empty(); ++block_number) {
    derive_block(hmac, salt, block_number, iterations, link.bytes(), sum.bytes());
    const std::size_t part = std::min(into.size(), sum.size());
    std::memcpy(into.data(), sum.bytes().data(), part);
    into = into.subspan(part);
  }
}

double measure_iterations_per_second(const HashAlgorithm& hash, double time_ms) {
  constexpr std::uint32_t kFirstTry = 1024;
  const double enough_seconds = std::clamp(time_ms / 1000, 0.0005, 0.02);
  const std::byte some_bytes[32] = {};
  std::byte digest[kDigestBytesMax];
  for (std::uint32_t iterations = kFirstTry;; iterations *= 2) {
    const double started = processor_seconds();
    derive_key(hash, some_bytes, some_bytes, iterations,
               std::span(digest).first(hash.digest_bytes));
    const double seconds = processor_seconds() - started;
    if (seconds >= enough_seconds) return iterations / seconds;
    // A clock that stands still must not keep us here.
    if (iterations >= kDigestsMax / 2) return iterations / enough_seconds;
  }
}

std::uint32_t iterations_max(const HashAlgorithm& hash, std::size_t key_bytes) noexcept {
  return static_cast<std::uint32_t>(kDigestsMax / divide_round_up(key_bytes, hash.digest_bytes));
}

std::uint32_t iterations_for(double iterations_per_second, const HashAlgorithm& hash,
                             std::size_t key_bytes, double time_ms) {
  const auto digests = static_cast<double>(divide_round_up(key_bytes, hash.digest_bytes));
  const double iterations = iterations_per_second * time_ms / 1000 / digests;
  // Nobody would live to see so many done.
  constexpr double kPossible = std::numeric_limits<std::uint32_t>::max();
  constexpr double kCountable = 0x1p64;
  if (iterations >= kCountable) {
    throw Error(Errc::limit_exceeded,
                fmt::format("PBKDF iterations {:.0f} too large to scale: Numerical result out of "
                            "range",
                            iterations_per_second));
  }
  if (iterations > kPossible) {
    throw Error(Errc::limit_exceeded,
                fmt::format("PBKDF iterations {:.0f} larger than {:.0f}: Numerical result out of "
                            "range",
                            iterations, kPossible));
  }
  return static_cast<std::uint32_t>(
      std::clamp<double>(iterations, kIterationsMin, iterations_max(hash, key_bytes)));
}

}  // namespace qcowkit::crypto
