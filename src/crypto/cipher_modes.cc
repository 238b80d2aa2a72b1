// Modes of operation. Sectors are short and a call to the block cipher is not free: so all modes
// but ctr work on several sectors at once, which lets the processor encrypt blocks side by side
// also where those of one sector depend on each other (cbc), and makes xts five times as fast as
// the library's own.
#include "crypto/cipher_modes.h"

#include <nettle/cbc.h>
#include <nettle/ctr.h>
#include <nettle/nettle-meta.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <utility>

#include "crypto/little_endian.h"

namespace qcowkit::crypto {

namespace {

constexpr std::size_t kBlockBytesMax = 16;
/// How many sectors are worked on at once: enough for the processor's pipelines, and little enough
/// for its first cache.
constexpr std::size_t kBatchSectors = 8;
constexpr std::size_t kBatchBytes = kBatchSectors * kSectorBytes;

constexpr std::array<std::pair<CipherMode, std::string_view>, 4> kModeNames = {{
    {CipherMode::ecb, "ecb"},
    {CipherMode::cbc, "cbc"},
    {CipherMode::ctr, "ctr"},
    {CipherMode::xts, "xts"},
}};

std::uint8_t* octets(std::byte* bytes) noexcept { return reinterpret_cast<std::uint8_t*>(bytes); }

/// Calls `work(first_sector, batch)` for at most `kBatchSectors` at a time.
template <typename Work>
void for_batches(std::uint64_t first_sector, std::span<std::byte> bytes, Work work) {
  assert(bytes.size() % kSectorBytes == 0);
  while (!bytes.empty()) {
    const std::span<std::byte> batch = bytes.first(std::min(bytes.size(), kBatchBytes));
    work(first_sector, batch);
    first_sector += batch.size() / kSectorBytes;
    bytes = bytes.subspan(batch.size());
  }
}

void xor_into(std::byte* to, const std::byte* from, std::size_t length_bytes) noexcept {
  for (std::size_t i = 0; i < length_bytes; i += sizeof(std::uint64_t)) {
    std::uint64_t a, b;
    std::memcpy(&a, to + i, sizeof a);
    std::memcpy(&b, from + i, sizeof b);
    a ^= b;
    std::memcpy(to + i, &a, sizeof a);
  }
}

/// The vectors of a batch of sectors.
class BatchIvs {
 public:
  BatchIvs(const IvGenerator& generator, std::size_t iv_bytes, std::uint64_t first_sector,
           std::size_t sectors) noexcept
      : iv_bytes_(iv_bytes), size_(sectors * iv_bytes) {
    generator.fill(first_sector, iv_bytes, bytes());
  }
  std::byte* operator[](std::size_t sector) noexcept { return bytes_ + sector * iv_bytes_; }
  std::span<std::byte> bytes() noexcept { return {bytes_, size_}; }

 private:
  const std::size_t iv_bytes_;
  const std::size_t size_;
  alignas(16) std::byte bytes_[kBatchSectors * kBlockBytesMax];
};

class EcbCipher final : public SectorCipher {
 public:
  explicit EcbCipher(BlockCipher cipher) : cipher_(std::move(cipher)) {}

  void encrypt(std::uint64_t, std::span<std::byte> bytes) const override { cipher_.encrypt(bytes); }
  void decrypt(std::uint64_t, std::span<std::byte> bytes) const override { cipher_.decrypt(bytes); }

 private:
  const BlockCipher cipher_;
};

class CbcCipher final : public SectorCipher {
 public:
  CbcCipher(BlockCipher cipher, IvGenerator ivs)
      : cipher_(std::move(cipher)), ivs_(std::move(ivs)) {}

  void encrypt(std::uint64_t first_sector, std::span<std::byte> bytes) const override {
    const std::size_t block = cipher_.block_bytes();
    for_batches(first_sector, bytes, [&](std::uint64_t first, std::span<std::byte> batch) {
      const std::size_t sectors = batch.size() / kSectorBytes;
      // One block of each sector at a time; the vectors become what the next block is joined with.
      BatchIvs chains(ivs_, block, first, sectors);
      for (std::size_t at = 0; at < kSectorBytes; at += block) {
        for (std::size_t i = 0; i < sectors; ++i) {
          xor_into(chains[i], batch.data() + i * kSectorBytes + at, block);
        }
        cipher_.encrypt(chains.bytes());
        for (std::size_t i = 0; i < sectors; ++i) {
          std::memcpy(batch.data() + i * kSectorBytes + at, chains[i], block);
        }
      }
    });
  }

  void decrypt(std::uint64_t first_sector, std::span<std::byte> bytes) const override {
    const std::size_t block = cipher_.block_bytes();
    for_batches(first_sector, bytes, [&](std::uint64_t first, std::span<std::byte> batch) {
      const std::size_t sectors = batch.size() / kSectorBytes;
      BatchIvs chains(ivs_, block, first, sectors);
      for (std::size_t i = 0; i < sectors; ++i) {
        std::uint8_t* sector = octets(batch.data() + i * kSectorBytes);
        cbc_decrypt(cipher_.decrypting_context(), cipher_.implementation().decrypt, block,
                    octets(chains[i]), kSectorBytes, sector, sector);
      }
    });
  }

 private:
  const BlockCipher cipher_;
  const IvGenerator ivs_;
};

class CtrCipher final : public SectorCipher {
 public:
  CtrCipher(BlockCipher cipher, IvGenerator ivs)
      : cipher_(std::move(cipher)), ivs_(std::move(ivs)) {}

  void encrypt(std::uint64_t first_sector, std::span<std::byte> bytes) const override {
    apply(first_sector, bytes);
  }
  void decrypt(std::uint64_t first_sector, std::span<std::byte> bytes) const override {
    apply(first_sector, bytes);
  }

 private:
  void apply(std::uint64_t first_sector, std::span<std::byte> bytes) const {
    const std::size_t block = cipher_.block_bytes();
    for_batches(first_sector, bytes, [&](std::uint64_t first, std::span<std::byte> batch) {
      const std::size_t sectors = batch.size() / kSectorBytes;
      BatchIvs counters(ivs_, block, first, sectors);
      for (std::size_t i = 0; i < sectors; ++i) {
        std::uint8_t* sector = octets(batch.data() + i * kSectorBytes);
        ctr_crypt(cipher_.encrypting_context(), cipher_.implementation().encrypt, block,
                  octets(counters[i]), kSectorBytes, sector, sector);
      }
    });
  }

  const BlockCipher cipher_;
  const IvGenerator ivs_;
};

/// IEEE 1619: block j of a sector is encrypted between two additions of its tweak, which is the
/// sector's vector, encrypted with the second key, times x^j in GF(2^128).
class XtsCipher final : public SectorCipher {
 public:
  XtsCipher(BlockCipher cipher, BlockCipher tweak_cipher, IvGenerator ivs)
      : cipher_(std::move(cipher)), tweak_cipher_(std::move(tweak_cipher)), ivs_(std::move(ivs)) {}

  void encrypt(std::uint64_t first_sector, std::span<std::byte> bytes) const override {
    apply(first_sector, bytes, [&](std::span<std::byte> batch) { cipher_.encrypt(batch); });
  }
  void decrypt(std::uint64_t first_sector, std::span<std::byte> bytes) const override {
    apply(first_sector, bytes, [&](std::span<std::byte> batch) { cipher_.decrypt(batch); });
  }

 private:
  template <typename CryptBlocks>
  void apply(std::uint64_t first_sector, std::span<std::byte> bytes, CryptBlocks crypt) const {
    for_batches(first_sector, bytes, [&](std::uint64_t first, std::span<std::byte> batch) {
      alignas(16) std::byte tweaks[kBatchBytes];
      fill_tweaks(first, std::span(tweaks).first(batch.size()));
      xor_into(batch.data(), tweaks, batch.size());
      crypt(batch);
      xor_into(batch.data(), tweaks, batch.size());
    });
  }

  void fill_tweaks(std::uint64_t first_sector, std::span<std::byte> tweaks) const {
    const std::size_t sectors = tweaks.size() / kSectorBytes;
    BatchIvs starts(ivs_, kBlockBytesMax, first_sector, sectors);
    tweak_cipher_.encrypt(starts.bytes());
    for (std::size_t i = 0; i < sectors; ++i) {
      fill_sector_tweaks(starts[i], tweaks.data() + i * kSectorBytes);
    }
  }

  static void fill_sector_tweaks(const std::byte* start, std::byte* tweaks) noexcept {
    constexpr std::uint64_t kReduction = 0x87;  // x^128 = x^7 + x^2 + x + 1
    std::uint64_t low = load_little_endian(start);
    std::uint64_t high = load_little_endian(start + 8);
    for (std::size_t at = 0; at < kSectorBytes; at += kBlockBytesMax) {
      store_little_endian(tweaks + at, low);
      store_little_endian(tweaks + at + 8, high);
      const std::uint64_t carry = (high >> 63) * kReduction;
      high = (high << 1) | (low >> 63);
      low = (low << 1) ^ carry;
    }
  }

  const BlockCipher cipher_;
  const BlockCipher tweak_cipher_;
  const IvGenerator ivs_;
};

}  // namespace

std::optional<CipherMode> find_cipher_mode(std::string_view name) noexcept {
  for (const auto& [mode, mode_name] : kModeNames) {
    if (mode_name == name) return mode;
  }
  return std::nullopt;
}

std::string_view name_of(CipherMode mode) noexcept {
  for (const auto& [named, name] : kModeNames) {
    if (named == mode) return name;
  }
  return {};
}

std::size_t key_bytes_of(const BlockCipherAlgorithm& algorithm, CipherMode mode) noexcept {
  return mode == CipherMode::xts ? 2 * algorithm.key_bytes : algorithm.key_bytes;
}

std::unique_ptr<SectorCipher> make_sector_cipher(const BlockCipherAlgorithm& algorithm,
                                                 CipherMode mode, IvGenerator ivs,
                                                 std::span<const std::byte> key) {
  assert(key.size() == key_bytes_of(algorithm, mode));
  BlockCipher cipher(algorithm, key.first(algorithm.key_bytes));
  switch (mode) {
    case CipherMode::ecb:
      return std::make_unique<EcbCipher>(std::move(cipher));
    case CipherMode::cbc:
      return std::make_unique<CbcCipher>(std::move(cipher), std::move(ivs));
    case CipherMode::ctr:
      return std::make_unique<CtrCipher>(std::move(cipher), std::move(ivs));
    case CipherMode::xts:
      break;
  }
  assert(algorithm.block_bytes == kBlockBytesMax);
  return std::make_unique<XtsCipher>(
      std::move(cipher), BlockCipher(algorithm, key.last(algorithm.key_bytes)), std::move(ivs));
}

}  // namespace qcowkit::crypto
