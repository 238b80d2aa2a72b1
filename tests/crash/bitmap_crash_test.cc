// Power failures and failing operations while bitmaps follow the disk and are stored: afterwards a
// bitmap is exactly as it was stored last, over a disk that has not changed since, or it is known
// not to be right.
//
// QCOWKIT_SEEDS=n runs n rounds for each kind of image; QCOWKIT_SEED=s replays one.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <string>

#include "tests/crash/crashing_image.h"
#include "tests/crash/requests.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeds.h"

namespace qcowkit::test {
namespace {

std::string dirty_runs(Layer& layer, const std::string& name) {
  std::string runs;
  const std::uint64_t size = layer.virtual_size();
  for (std::uint64_t at = 0; at < size;) {
    const BitmapExtent extent = layer.map_bitmap(name, {at}, size - at);
    if (extent.is_dirty) {
      runs += std::to_string(at) + "+" + std::to_string(extent.length_bytes) + " ";
    }
    at += extent.length_bytes;
  }
  return runs;
}

/// What an image's bitmaps say, and the disk that they say it of.
struct State {
  explicit State(OpenedImage& image) : content(image.read_all()) {
    for (const BitmapInfo& info : image.layer().bitmaps()) {
      if (info.in_use) {
        in_use.push_back(info.name);
      } else {
        bitmaps[info.name] = {info.automatic, dirty_runs(image.layer(), info.name)};
      }
    }
  }

  std::vector<std::byte> content;
  std::map<std::string, std::pair<bool, std::string>> bitmaps;  ///< enabled, dirty runs
  std::vector<std::string> in_use;
};

/// What is wrong with a crash that came after `stored` was on the disk, and maybe later.
std::optional<std::string> what_is_wrong(const State& found, const State& stored) {
  for (const std::string& name : found.in_use) {
    const bool known = stored.bitmaps.contains(name) ||
                       std::ranges::find(stored.in_use, name) != stored.in_use.end();
    if (!known) return "bitmap '" + name + "' was never stored";
  }
  if (found.in_use.size() + found.bitmaps.size() != stored.in_use.size() + stored.bitmaps.size()) {
    return "a bitmap is missing";
  }
  for (const auto& [name, bitmap] : found.bitmaps) {
    const auto before = stored.bitmaps.find(name);
    if (before == stored.bitmaps.end()) return "bitmap '" + name + "' was not stored";
    if (bitmap != before->second) return "bitmap '" + name + "' has changed";
    const bool follows = bitmap.first;
    if (follows && found.content != stored.content) {
      return "bitmap '" + name + "' has missed a change of the disk";
    }
    if (found.content.size() != stored.content.size()) return "bitmap '" + name + "' is too short";
  }
  return std::nullopt;
}

class BitmapRound {
 public:
  BitmapRound(const Shape& shape, std::uint64_t seed) : shape_(shape), seed_(seed) {
    ImageFiles files = create_image_files(shape_);
    OpenedImage image(shape_, files, OpenedImage::Mode::read_write);
    Layer& layer = image.layer();
    add(layer, "enabled", 512);
    add(layer, "disabled", 512, false);
    add(layer, "coarse", 4096);
    layer.write({0}, recognisable_bytes(1, 0, 3000));
    layer.mark_bitmap("disabled", {4096}, 2048);
    layer.close();
    files_ = files;
  }

  /// Looks at crashes after some of the changes.
  void run_with_crashes() {
    const std::uint64_t changes = run([](std::uint64_t) {}, std::nullopt);
    Random choice(seed_ + 1);
    constexpr std::uint64_t kMoments = kIsSanitized ? 15 : 60;
    run(
        [&](std::uint64_t host_offset) {
          // Every change of the header; of the others, some.
          if (host_offset != 0 && choice() % changes >= kMoments) return;
          for (int i = 0; i < 3; ++i) look(choice() % 4 == 0 ? choice() % 2 : choice());
        },
        std::nullopt);
  }

  /// Lets one operation after the other fail.
  void run_with_faults() {
    constexpr std::uint64_t kStride = kIsSanitized ? 11 : 3;
    for (const Operations operations : {kChanges & ~kDiscards, kFlushes, kReads}) {
      for (const std::uint64_t torn :
           {std::uint64_t{0}, std::uint64_t{512}, std::numeric_limits<std::uint64_t>::max()}) {
        if (torn != 0 && operations != (kChanges & ~kDiscards)) continue;
        for (std::uint64_t at = 1 + seed_ % kStride;; at += kStride) {
          SCOPED_TRACE("operation " + std::to_string(at) + " fails");
          run([](std::uint64_t) {}, Fault{.operations = operations, .at = at, .torn_bytes = torn});
          if (testing::Test::HasFailure() || !plan_->has_fired()) break;
        }
      }
    }
  }

 private:
  static void add(Layer& layer, const std::string& name, std::uint64_t granularity,
                  bool enabled = true) {
    layer.add_bitmap({.name = name, .granularity_bytes = granularity, .enabled = enabled});
  }

  /// Returns how many changes of the disk there were.
  std::uint64_t run(const std::function<void(std::uint64_t host_offset)>& on_change,
                    const std::optional<Fault>& fault) {
    std::uint64_t changes = 0;
    plan_ = std::make_shared<FaultPlan>();
    CrashingImage disks(files_, plan_, [&](std::uint64_t host_offset) {
      ++changes;
      on_change(host_offset);
    });
    disks_ = &disks;
    {
      OpenedImage image(shape_, files_.clone(), OpenedImage::Mode::read_only);
      stored_.emplace(image);
      next_.reset();
    }
    Random random(seed_);
    if (fault) plan_->arm(*fault);
    try {
      for (int session = 0; session < 3; ++session) {
        const std::unique_ptr<OpenedImage> image = disks.open(shape_);
        for (int i = 0; i < 8; ++i) step(image->layer(), random);
        image->layer().flush();
        // To look at all of it counts, and would fail, too.
        if (!plan_->has_fired()) plan_->disarm();
        next_.emplace(*image);
        if (fault) plan_->arm(*fault);
        image->layer().close();
        stored_ = std::move(next_);
        next_.reset();
      }
    } catch (const Error& error) {
      EXPECT_TRUE(plan_->has_fired()) << error.what();
    }
    if (fault) {
      look(1);
      look(seed_ * 7 + 2);
    } else {
      look(0);
    }
    return changes;
  }

  void step(Layer& layer, Random& random) {
    const std::uint64_t size = layer.virtual_size();
    const GuestOffset begin{random() % (size / 512) * 512};
    const std::uint64_t length = std::min(512 * (1 + random() % 8), size - begin.value);
    switch (random() % 12) {
      case 0:
        layer.discard(begin, length);
        break;
      case 1:
        layer.write_zeroes(begin, length, true);
        break;
      case 2:
        layer.flush();
        break;
      case 3: {
        const std::string name = "new " + std::to_string(random() % 3);
        const std::vector<BitmapInfo> present = layer.bitmaps();
        const bool is_there = std::ranges::find(present, name, &BitmapInfo::name) != present.end();
        if (is_there) {
          layer.remove_bitmap(name);
        } else {
          add(layer, name, 512 << random() % 4, random() % 2 == 0);
        }
        break;
      }
      case 4:
        layer.clear_bitmap("coarse");
        break;
      case 5:
        layer.mark_bitmap("disabled", begin, length);
        break;
      case 6:
        layer.enable_bitmap("coarse", random() % 2 == 0);
        break;
      case 7: {
        ResizeOptions options;
        options.may_shrink = true;
        layer.resize(shape_.disk_bytes() - 512 * (random() % 40), options);
        break;
      }
      default:
        layer.write(begin, recognisable_bytes(random(), begin.value, length));
    }
  }

  void look(std::uint64_t crash_seed) {
    if (testing::Test::HasFailure()) return;
    SCOPED_TRACE("lost and torn by seed " + std::to_string(crash_seed));
    const ImageFiles files = disks_->crash(crash_seed);
    OpenedImage image(shape_, files, OpenedImage::Mode::read_write);
    const State found(image);
    const std::optional<std::string> wrong = what_is_wrong(found, *stored_);
    if (wrong && !(next_ && !what_is_wrong(found, *next_))) ADD_FAILURE() << *wrong;
    const CheckReport report = image.check(Repair::leaks);
    EXPECT_EQ(report.corruptions, 0u) << describe(report);
    EXPECT_EQ(report.leaks, 0u) << describe(report);
    const State repaired(image);
    EXPECT_TRUE(repaired.bitmaps == found.bitmaps);
  }

  const Shape& shape_;
  const std::uint64_t seed_;
  ImageFiles files_;

  // Of the run that is under way.
  std::shared_ptr<FaultPlan> plan_;
  CrashingImage* disks_ = nullptr;
  std::optional<State> stored_;
  std::optional<State> next_;  ///< while it is being stored
};

class BitmapCrash : public testing::TestWithParam<Shape> {};

TEST_P(BitmapCrash, LeavesBitmapsAsStoredOrKnownNotToBeRight) {
  for_each_seed(
      kIsSanitized ? 2 : 6,
      [](std::uint64_t seed) {
        SCOPED_TRACE("QCOWKIT_SEED=" + std::to_string(seed));
        BitmapRound(GetParam(), seed).run_with_crashes();
      },
      [] { return HasFailure(); });
}

TEST_P(BitmapCrash, FailuresLeaveBitmapsAsStoredOrKnownNotToBeRight) {
  for_each_seed(
      kIsSanitized ? 1 : 3,
      [](std::uint64_t seed) {
        SCOPED_TRACE("QCOWKIT_SEED=" + std::to_string(seed));
        BitmapRound(GetParam(), seed).run_with_faults();
      },
      [] { return HasFailure(); });
}

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  all.push_back(plain_shape("Clusters512", 200 * 512, 512));
  all.push_back(with_backing(plain_shape("Clusters512TinyCaches", 200 * 512, 512)));
  all.back().metadata.l2_cache_bytes = 512;
  all.back().metadata.refcount_cache_bytes = 512;
  all.push_back(plain_shape("Clusters4096", 100 * 4096, 4096));
  all.push_back(plain_shape("Clusters4096Lazy", 100 * 4096, 4096));
  all.back().options.lazy_refcounts = true;
  return all;
}

INSTANTIATE_TEST_SUITE_P(Shapes, BitmapCrash, testing::ValuesIn(shapes()),
                         [](const auto& which) { return which.param.name; });

}  // namespace
}  // namespace qcowkit::test
