// A workload on an image, and what crashes in the middle of it would leave.
#include "tests/crash/crash_round.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>

#include "tests/crash/examine.h"
#include "tests/crash/internal_snapshot.h"

namespace qcowkit::test {

namespace {

/// Writes to the disk behind its first quarter.
void grow_file(const CrashCase& c, CrashStart& start) {
  constexpr std::uint64_t kStepBytes = 16384;
  OpenedImage image(c.shape, start.files, OpenedImage::Mode::read_write);
  std::uint64_t offset = c.shape.disk_bytes() / 4;
  while (start.files.image->size() < c.host_bytes_before) {
    perform({Request::Kind::write, offset, kStepBytes, false, offset}, c.shape, image.layer(),
            start.model);
    perform({}, c.shape, image.layer(), start.model);
    offset += kStepBytes;
  }
  image.layer().close();
}

void add_snapshot(const CrashCase& c, CrashStart& start) {
  constexpr std::size_t kRequests = 20;
  OpenedImage image(c.shape, start.files, OpenedImage::Mode::read_write);
  Random random(17);
  for (const Request& request : random_requests(c.shape, kRequests, random)) {
    perform(request, c.shape, image.layer(), start.model);
  }
  start.snapshot = image.read_all();
  image.layer().close();
  start.model.flushed();
  take_snapshot(start.files);
}

std::vector<Request> requests_of(const CrashCase& c, std::uint64_t seed) {
  Random random(seed);
  return random_requests(c.shape, c.requests, random);
}

}  // namespace

CrashStart::CrashStart(const CrashCase& c)
    : files(create_image_files(c.shape)), model(initial_content(c.shape)) {
  if (c.host_bytes_before != 0) grow_file(c, *this);
  if (c.has_snapshot) add_snapshot(c, *this);
}

CrashRound::CrashRound(const CrashCase& c, const CrashStart& start, std::uint64_t seed)
    : case_(c), shape_(c.shape), start_(start), seed_(seed), requests_(requests_of(c, seed)) {}

void CrashRound::run() {
  // A first run counts the changes, a second one looks at some of them.
  run_requests([](std::uint64_t) {});
  const std::uint64_t changes = std::max<std::uint64_t>(changes_, 1);
  Random choice(seed_ + 1);
  if (seed_ % 2 == 0) {
    constexpr std::uint64_t kTorn[] = {0, 512, std::numeric_limits<std::uint64_t>::max()};
    fault_ = Fault{.operations = kChanges & ~kDiscards,
                   .at = 1 + choice() % changes,
                   .torn_bytes = kTorn[choice() % 3]};
  }
  run_requests([&](std::uint64_t host_offset) {
    // Header, L1 table, the refcount table and its first block are the most delicate.
    const bool is_delicate = host_offset < 4 * shape_.cluster_size();
    const std::uint64_t weight = is_delicate ? 8 : 1;
    if (host_offset == 0 || choice() % changes < case_.moments * weight) look(choice);
  });
}

void CrashRound::look(Random& choice) {
  if (testing::Test::HasFailure()) return;
  constexpr std::uint64_t kSeedsAtOnce = 3;
  for (std::uint64_t i = 0; i < kSeedsAtOnce; ++i) {
    const std::uint64_t crash_seed = choice() % 4 == 0 ? choice() % 2 : choice();
    SCOPED_TRACE("crash after change " + std::to_string(changes_) + ", lost and torn by seed " +
                 std::to_string(crash_seed));
    const ImageFiles files = disks_->crash(crash_seed);
    examine(shape_, files, *model_, i == 0 ? Examination::use_on : Examination::look, choice());
    expect_snapshot(files);
  }
}

void CrashRound::expect_snapshot(const ImageFiles& files) {
  if (!start_.snapshot) return;
  EXPECT_TRUE(read_snapshot(shape_, files) == *start_.snapshot) << "the snapshot has changed";
}

/// Returns whether it has succeeded.
bool CrashRound::perform_or_settle(const Request& request, OpenedImage& image) {
  try {
    perform(request, shape_, image.layer(), *model_);
    return true;
  } catch (const Error& error) {
    EXPECT_TRUE(plan_->has_fired()) << error.what();
    EXPECT_EQ(model_->settle(image.read_all()), std::nullopt);
    return false;
  }
}

void CrashRound::run_requests(const std::function<void(std::uint64_t)>& on_change) {
  constexpr std::size_t kRequestsPerOpening = 25;
  changes_ = 0;
  plan_ = std::make_shared<FaultPlan>();
  CrashingImage disks(start_.files, plan_, [&](std::uint64_t host_offset) {
    ++changes_;
    on_change(host_offset);
  });
  GuestModel model = start_.model;
  disks_ = &disks;
  model_ = &model;
  if (fault_) plan_->arm(*fault_);

  std::unique_ptr<OpenedImage> image = disks.open(shape_);
  const auto close = [&] {
    try {
      image->layer().close();
      model.flushed();
      return true;
    } catch (const Error& error) {
      EXPECT_TRUE(plan_->has_fired()) << error.what();
      return false;
    }
  };
  for (std::size_t i = 0; i < requests_.size(); ++i) {
    if (testing::Test::HasFailure()) return;
    SCOPED_TRACE("request " + std::to_string(i) + ": " + to_string(requests_[i]));
    perform_or_settle(requests_[i], *image);
    if (i % kRequestsPerOpening == kRequestsPerOpening - 1) {
      if (!close()) return;
      image = disks.open(shape_);
    }
  }
  SCOPED_TRACE("at the end");
  EXPECT_EQ(model.compare(image->read_all()), std::nullopt);
  if (!close()) return;
  const Leaks leaks = plan_->has_fired() ? Leaks::allowed : Leaks::none;
  expect_sound(shape_, disks.crash(0), model, leaks);
  expect_snapshot(disks.crash(0));
}

}  // namespace qcowkit::test
