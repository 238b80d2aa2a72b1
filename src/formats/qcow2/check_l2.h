// L2 tables in a check: reading many of them, and counting what they refer to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/buffer.h"
#include "formats/qcow2/check_references.h"
#include "formats/qcow2/l2_entry.h"

namespace qcowkit::qcow2 {

/// Reads L2 tables, some MiB at a time, in the order in which they lie in the file.
class L2TableReader {
 public:
  explicit L2TableReader(CheckContext& context) : context_(context) {}

  /// Calls `visit` for each table in turn, with its bytes (which it may change) or with an empty
  /// span where they cannot be read. The span is valid during the call.
  using Visit = std::function<void(const L2TableRef& table, std::span<std::byte> bytes)>;
  void for_each(std::span<const L2TableRef> tables, const CheckStage& stage, const Visit& visit);

 private:
  static constexpr std::size_t kBatchBytes = 4u << 20;

  void read_batch(std::span<const L2TableRef> tables);
  bool read_run(std::span<const L2TableRef> tables, std::size_t begin, std::size_t end);

  std::byte* slot(std::size_t i) noexcept {
    return buffer_.data() + (i << context_.geometry.cluster_bits());
  }

  CheckContext& context_;
  Buffer buffer_;
  std::vector<std::size_t> order_;  // of a batch, by host offset
  std::vector<bool> readable_;
};

/// What a standard (not compressed) L2 entry says, as far as it makes sense.
struct StandardL2Entry {
  StandardL2Entry(RawL2Entry raw, const L2Rules& rules) noexcept;

  std::uint64_t host_offset;  ///< may be unaligned
  bool copied;
  bool has_host_cluster;
  bool is_preallocated;  ///< there is a host cluster, but nothing is read from it
  bool is_aligned;
};

/// The rules by which the reference checks an image's L2 entries: a zero flag is one in version 2,
/// too.
L2Rules l2_check_rules(const Header& header) noexcept;

/// Counts the references that L2 tables hold.
class L2Walk {
 public:
  explicit L2Walk(References& references);

  void table(const L2TableRef& table, std::span<const std::byte> bytes);

 private:
  struct Run {
    std::uint64_t host_offset;
    std::uint64_t clusters;
    std::uint8_t claims;
  };
  template <bool kExtended>
  void entries(const std::byte* bytes);
  template <bool kExtended>
  bool is_plain(RawL2Entry raw) const noexcept;
  template <bool kExtended>
  std::uint64_t plain_run(const std::byte* bytes, std::uint64_t index,
                          std::uint64_t descriptor) const noexcept;
  void count_run(const Run& run);
  void odd_entry(RawL2Entry raw, std::uint64_t index);
  void compressed_entry(RawL2Entry raw, std::uint64_t index);
  void standard_entry(RawL2Entry raw);
  void count_allocated(std::uint64_t host_offset, std::uint64_t clusters) noexcept;

  References& references_;
  const L2Rules rules_;
  const Geometry geometry_;

  // Of the table at hand.
  std::uint64_t weight_ = 0;  // L1 entries that lead to it
  std::uint64_t active_ = 0;  // active ones of them
  // Where the next cluster would not be a fragment; 0: anywhere.
  std::uint64_t next_contiguous_ = 0;
};

}  // namespace qcowkit::qcow2
