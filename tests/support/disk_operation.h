// One thing that a guest does to a disk, as a value.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace qcowkit::test {

enum class OperationKind {
  write,
  read,
  write_zeroes,
  write_zeroes_unmap,
  discard,
  write_compressed,
  write_in_place,
  flush,
  check,
  reopen,
};

/// A range is within the disk; for compressed and in-place writes it is made of whole clusters.
struct Operation {
  OperationKind kind = OperationKind::flush;
  std::uint64_t guest_offset = 0;
  std::uint64_t length_bytes = 0;
  std::uint64_t content = 0;  ///< of writes, see `fill_content`
};

/// "write 512+4096 #17".
std::string describe(const Operation& operation);
std::string describe(const std::vector<Operation>& operations);

/// What operations are drawn for.
struct OperationSpace {
  std::uint64_t virtual_size_bytes = 0;
  std::uint64_t cluster_size_bytes = 0;
  std::uint64_t l2_table_covers_bytes = 0;
  bool can_compress = true;
};

/// Operations that crowd together at the disk's ends and around the border of two L2 tables, so
/// that they meet each other's clusters.
std::vector<Operation> draw_operations(std::mt19937_64& random, const OperationSpace& space,
                                       std::size_t count);

}  // namespace qcowkit::test
