// Images with all features of the format at once, as far as they go together.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

namespace qcowkit::test {

/// One value for each of the things that an image of the reference can be.
struct Combination {
  std::uint32_t version = 3;
  std::uint64_t cluster_size_bytes = 65536;
  std::uint32_t refcount_bits = 16;
  bool extended_l2 = false;
  std::string data_file;         ///< "none", "plain", "raw"
  std::string compression_type;  ///< "zlib", "zstd"
  bool lazy_refcounts = false;
  bool preallocated = false;
  std::string encryption;  ///< "none", "aes", "luks"
  std::string backing;     ///< "none", "raw", "qcow2"
  bool has_snapshot = false;
  bool has_bitmap = false;
  bool has_compressed_clusters = false;

  std::uint64_t size_bytes() const { return 40 * cluster_size_bytes; }
  /// False where the reference refuses to make such an image.
  bool is_possible() const;
  /// The options of `qemu-img create`, but for references to other files.
  std::string create_options() const;
};
std::ostream& operator<<(std::ostream& out, const Combination& combination);

/// Combinations in which every two values of different things that go together do so at least once
/// (a covering array). Always the same.
std::vector<Combination> covering_combinations();

}  // namespace qcowkit::test
