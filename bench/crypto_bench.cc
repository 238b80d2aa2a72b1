// How fast sectors are encrypted and decrypted, and how fast passphrases are tried.
//
// Sectors: 64 KiB at once, by one thread. Passphrases: iterations of PBKDF2 a second.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include "crypto/cipher_modes.h"
#include "crypto/key_derivation.h"

namespace qcowkit::crypto {
namespace {

constexpr std::size_t kRunBytes = 65536;

enum class Direction { encrypt, decrypt };

void crypt(benchmark::State& state, const BlockCipherAlgorithm& algorithm, CipherMode mode,
           Direction direction) {
  const std::vector<std::byte> key(key_bytes_of(algorithm, mode), std::byte{0x5a});
  const auto cipher = make_sector_cipher(algorithm, mode, IvGenerator(IvRule::plain64), key);
  std::vector<std::byte> run(kRunBytes);
  for (auto _ : state) {
    if (direction == Direction::encrypt) {
      cipher->encrypt(0, run);
    } else {
      cipher->decrypt(0, run);
    }
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * kRunBytes));
}

void derive(benchmark::State& state, const HashAlgorithm& hash) {
  constexpr std::uint32_t kIterations = 1000;
  const std::vector<std::byte> passphrase(16), salt(32);
  std::vector<std::byte> key(hash.digest_bytes);
  for (auto _ : state) derive_key(hash, passphrase, salt, kIterations, key);
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * kIterations));
}

const bool kRegistered = [] {
  for (const BlockCipherAlgorithm& algorithm : block_cipher_algorithms()) {
    for (const CipherMode mode :
         {CipherMode::ecb, CipherMode::cbc, CipherMode::ctr, CipherMode::xts}) {
      if (mode == CipherMode::xts && algorithm.block_bytes != 16) continue;
      const std::string name = std::string(algorithm.name) + "-" + std::string(name_of(mode));
      benchmark::RegisterBenchmark((name + "/encrypt").c_str(), crypt, algorithm, mode,
                                   Direction::encrypt);
      benchmark::RegisterBenchmark((name + "/decrypt").c_str(), crypt, algorithm, mode,
                                   Direction::decrypt);
    }
  }
  for (const HashAlgorithm& hash : hash_algorithms()) {
    benchmark::RegisterBenchmark(("pbkdf2/" + std::string(hash.name)).c_str(), derive, hash);
  }
  return true;
}();

}  // namespace
}  // namespace qcowkit::crypto
