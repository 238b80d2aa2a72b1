// A workload on an image, and what crashes in the middle of it would leave.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <ostream>
#include <vector>

#include "tests/crash/crashing_image.h"
#include "tests/crash/image_files.h"
#include "tests/crash/requests.h"
#include "tests/support/fault_storage.h"
#include "tests/support/guest_model.h"
#include "tests/support/sanitized.h"

namespace qcowkit::test {

/// What is done to which image.
struct CrashCase {
  Shape shape;
  /// How large the image's file is made before anything else happens.
  std::uint64_t host_bytes_before = 0;
  bool has_snapshot = false;
  std::uint64_t rounds = kIsSanitized ? 1 : 4;
  std::size_t requests = 60;
  /// About how many times in a round the power fails.
  std::uint64_t moments = kIsSanitized ? 12 : 50;
};

inline void PrintTo(const CrashCase& c, std::ostream* out) { *out << c.shape.name; }

/// What all rounds of a case start with. It is durable.
struct CrashStart {
  explicit CrashStart(const CrashCase& c);

  ImageFiles files;
  GuestModel model;
  std::optional<std::vector<std::byte>> snapshot;  ///< what the guest of the snapshot reads
};

/// One run of a random workload. In every other one, one operation of the disk fails before the
/// power does.
class CrashRound {
 public:
  CrashRound(const CrashCase& c, const CrashStart& start, std::uint64_t seed);

  /// Expects that what each crash leaves is legal.
  void run();

 private:
  void look(Random& choice);
  void expect_snapshot(const ImageFiles& files);
  void run_requests(const std::function<void(std::uint64_t host_offset)>& on_change);
  bool perform_or_settle(const Request& request, OpenedImage& image);

  const CrashCase& case_;
  const Shape& shape_;
  const CrashStart& start_;
  const std::uint64_t seed_;
  const std::vector<Request> requests_;
  std::optional<Fault> fault_;

  // Of the run that is under way.
  std::uint64_t changes_ = 0;
  std::shared_ptr<FaultPlan> plan_;
  CrashingImage* disks_ = nullptr;
  GuestModel* model_ = nullptr;
};

}  // namespace qcowkit::test
