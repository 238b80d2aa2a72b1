// One event in the life of an image, as a value.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace qcowkit::test {

enum class LifeKind {
  write,
  write_zeroes,
  discard,
  write_compressed,
  create_snapshot,
  apply_snapshot,
  delete_snapshot,
  write_vm_state,
  grow,
  shrink,
  make_empty,
  amend_version,
  amend_refcount_bits,
  amend_lazy_refcounts,
  amend_backing_name,
  turn_read_only_and_back,
  invalidate,
  close_and_open,
  flush,
  examine,
};

/// `place`, `length` and `choice` are any numbers: what they stand for depends on the disk at that
/// time, so that a sequence stays possible when steps are left out of it.
struct LifeStep {
  LifeKind kind = LifeKind::flush;
  std::uint64_t place = 0;
  std::uint64_t length = 0;
  std::uint64_t choice = 0;
  std::uint64_t content = 0;  ///< of writes, see `fill_content`
};

std::string describe(const LifeStep& step);
std::string describe(const std::vector<LifeStep>& steps);

std::vector<LifeStep> draw_life(std::mt19937_64& random, std::size_t count);

}  // namespace qcowkit::test
