// Keys from passphrases: PBKDF2 (RFC 8018) with HMAC.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "crypto/hash.h"
#include "qcowkit/secret.h"

namespace qcowkit::crypto {

/// Fills `into`. `iterations` is at least 1; the time taken is proportional to it and to the number
/// of digests that `into` takes.
void derive_key(const HashAlgorithm& hash, std::span<const std::byte> passphrase,
                std::span<const std::byte> salt, std::uint32_t iterations,
                std::span<std::byte> into);

/// How many iterations per second of processor time this machine does, deriving one digest. Takes
/// some hundredths of a second, and less if only a choice for a shorter `time_ms` depends on it.
double measure_iterations_per_second(const HashAlgorithm& hash, double time_ms);

/// Below this, a passphrase would be too cheap to guess (LUKS specification, "Prerequisites").
inline constexpr std::uint32_t kIterationsMin = 1000;
/// A bound for the digests that an image may make us compute for one key: half a minute with the
/// usual hash, a few with the slowest. (Several times what ten seconds of a fast machine are.)
inline constexpr std::uint32_t kDigestsMax = 1u << 28;

/// The most iterations that deriving `key_bytes` may take.
std::uint32_t iterations_max(const HashAlgorithm& hash, std::size_t key_bytes) noexcept;

/// The iterations with which deriving `key_bytes` takes `time_ms`, within the bounds above. Throws
/// `Error` (limit_exceeded) if no header could hold so many.
std::uint32_t iterations_for(double iterations_per_second, const HashAlgorithm& hash,
                             std::size_t key_bytes, double time_ms);

}  // namespace qcowkit::crypto
