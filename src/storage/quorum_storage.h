// The driver "quorum": several copies of the same bytes, which vote.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "qcowkit/storage.h"

namespace qcowkit {

enum class QuorumReadPattern : std::uint8_t {
  quorum,  ///< all children are read, and what most of them hold is the answer
  fifo,    ///< the first child that can be read is
};

/// Names and meanings are those of the driver's options.
struct QuorumOptions {
  std::uint64_t vote_threshold = 0;  ///< 1 to the number of children
  bool blkverify = false;            ///< two children that have to hold the same
  bool rewrite_corrupted = false;    ///< what lost a vote is overwritten with what won
  QuorumReadPattern read_pattern = QuorumReadPattern::quorum;
  /// With `blkverify`: told of contents that differ before the request fails, as
  /// `MismatchSink` of blkverify_storage.h is.
  std::function<void(const std::string& message)> on_mismatch = {};
};

/// Copies that are written together and vote when they are read: what at least `vote_threshold`
/// of them hold is true, and a write or flush that so many of them manage is done. The children
/// are of one size. Throws `Error` in the reference's words for options that do not fit.
std::unique_ptr<Storage> make_quorum_storage(std::vector<std::unique_ptr<Storage>> children,
                                             const QuorumOptions& options);

}  // namespace qcowkit
