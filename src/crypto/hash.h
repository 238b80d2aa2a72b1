// Hashes.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

struct nettle_hash;

namespace qcowkit::crypto {

struct HashAlgorithm {
  std::string_view name;  ///< as options and LUKS headers have it: "sha256"
  std::size_t digest_bytes;
  const nettle_hash* implementation;
};

inline constexpr std::size_t kDigestBytesMax = 64;

/// All that there are.
std::span<const HashAlgorithm> hash_algorithms() noexcept;
/// Null if there is none.
const HashAlgorithm* find_hash(std::string_view name) noexcept;

/// Hashes what it is given, piece by piece. What it has seen is wiped at the end. One thread at a
/// time.
class Hasher {
 public:
  explicit Hasher(const HashAlgorithm& algorithm) noexcept;
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  void update(std::span<const std::byte> bytes) noexcept;
  /// The digest's first `into.size()` bytes; starts anew afterwards.
  void digest(std::span<std::byte> into) noexcept;

 private:
  static constexpr std::size_t kContextBytesMax = 256;

  const nettle_hash& implementation_;
  alignas(16) std::byte context_[kContextBytesMax];
};

}  // namespace qcowkit::crypto
