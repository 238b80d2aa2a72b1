// Tells a progress sink how far a job has come.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "qcowkit/image.h"

namespace qcowkit {

/// Turns bytes done into fractions, and calls the sink when there is something new to show. Used by
/// one thread at a time.
class ProgressMeter {
 public:
  ProgressMeter(ProgressSink sink, std::uint64_t total_bytes)
      : sink_(std::move(sink)), total_bytes_(total_bytes) {
    report(0);
  }

  /// `done_bytes` counts from the job's start, and what needed no work as well.
  void advance_to(std::uint64_t done_bytes) {
    if (!sink_ || total_bytes_ == 0) return;
    const double fraction =
        static_cast<double>(std::min(done_bytes, total_bytes_)) / static_cast<double>(total_bytes_);
    if (fraction >= reported_ + kStep && fraction < 1) report(fraction);
  }
  /// The job is done.
  void finish() { report(1); }

 private:
  static constexpr double kStep = 0.001;

  void report(double fraction) {
    reported_ = fraction;
    if (sink_) sink_(fraction);
  }

  const ProgressSink sink_;
  const std::uint64_t total_bytes_;
  double reported_ = 0;
};

}  // namespace qcowkit
