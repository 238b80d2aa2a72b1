#include "crypto/hash.h"

#include <nettle/nettle-meta.h>

#include <array>
#include <cassert>
#include <cstdint>
#include <cstring>

namespace qcowkit::crypto {

namespace {

constexpr std::array kAlgorithms = {
    HashAlgorithm{"md5", 16, &nettle_md5},
    HashAlgorithm{"sha1", 20, &nettle_sha1},
    HashAlgorithm{"sha224", 28, &nettle_sha224},
    HashAlgorithm{"sha256", 32, &nettle_sha256},
    HashAlgorithm{"sha384", 48, &nettle_sha384},
    HashAlgorithm{"sha512", 64, &nettle_sha512},
    HashAlgorithm{"ripemd160", 20, &nettle_ripemd160},
};

}  // namespace

std::span<const HashAlgorithm> hash_algorithms() noexcept { return kAlgorithms; }

const HashAlgorithm* find_hash(std::string_view name) noexcept {
  for (const HashAlgorithm& algorithm : kAlgorithms) {
    if (algorithm.name == name) return &algorithm;
  }
  return nullptr;
}

Hasher::Hasher(const HashAlgorithm& algorithm) noexcept
    : implementation_(*algorithm.implementation) {
  assert(implementation_.context_size <= kContextBytesMax);
  assert(implementation_.digest_size == algorithm.digest_bytes);
  implementation_.init(context_);
}

Hasher::~Hasher() { explicit_bzero(context_, sizeof context_); }

void Hasher::update(std::span<const std::byte> bytes) noexcept {
  implementation_.update(context_, bytes.size(),
                         reinterpret_cast<const std::uint8_t*>(bytes.data()));
}

void Hasher::digest(std::span<std::byte> into) noexcept {
  assert(into.size() <= implementation_.digest_size);
  implementation_.digest(context_, into.size(), reinterpret_cast<std::uint8_t*>(into.data()));
}

}  // namespace qcowkit::crypto
