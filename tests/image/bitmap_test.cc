// Bitmaps as a user of `Image` sees them: random changes against a list of dirty granules, merging,
// and changes of the disk as a whole.
//
// QCOWKIT_SEEDS=n runs n seeds; QCOWKIT_SEED=s replays one.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "qcowkit/image.h"
#include "storage/memory_storage.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/fault_storage.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeds.h"

namespace qcowkit::test {
namespace {

std::unique_ptr<Image> open(const std::shared_ptr<MemoryStorage>& storage, bool read_only = false) {
  OpenOptions options;
  options.format = "qcow2";
  options.read_only = read_only;
  return Image::open(std::make_unique<FaultStorage>(storage), options);
}

std::shared_ptr<MemoryStorage> make_image(std::uint64_t size, std::uint64_t cluster_size = 65536,
                                          const std::string& format = "qcow2") {
  auto storage = std::make_shared<MemoryStorage>("disk");
  CreateOptions options;
  options.format = format;
  options.size_bytes = size;
  if (format == "qcow2") options.cluster_size_bytes = cluster_size;
  Image::create(*storage, options);
  return storage;
}

void take_snapshot(Image& image) { image.create_snapshot({.name = "s"}); }

/// The dirty runs, as "begin+length" in bytes.
std::string dirty_runs(Image& image, const std::string& name) {
  std::string runs;
  const std::uint64_t size = image.virtual_size();
  for (std::uint64_t at = 0; at < size;) {
    const BitmapExtent extent = image.map_bitmap(name, at, size - at);
    if (extent.is_dirty) runs += fmt::format("{}+{} ", at, extent.length_bytes);
    at += extent.length_bytes;
  }
  return runs;
}

// --- The model ---------------------------------------------------------------------------------

struct ModelBitmap {
  std::uint64_t granule = 0;
  bool enabled = true;
  std::vector<bool> dirty;

  void resize(std::uint64_t disk) { dirty.resize((disk + granule - 1) / granule); }
  void mark(std::uint64_t begin, std::uint64_t length) {
    for (std::uint64_t g = begin / granule; length != 0 && g * granule < begin + length; ++g) {
      if (g < dirty.size()) dirty[g] = true;
    }
  }
  std::string runs(std::uint64_t disk) const {
    std::string told;
    for (std::size_t g = 0; g < dirty.size();) {
      std::size_t end = g;
      while (end < dirty.size() && dirty[end]) ++end;
      if (end > g) {
        told += fmt::format("{}+{} ", g * granule, std::min(end * granule, disk) - g * granule);
      }
      g = std::max(end, g + 1);
    }
    return told;
  }
};

/// An image and what its bitmaps have to say.
class BitmapTrial {
 public:
  explicit BitmapTrial(std::uint64_t seed) : random_(seed) {
    cluster_ = std::uint64_t{512} << pick(4) * 2;
    size_ = draw_size();
    storage_ = make_image(size_, cluster_);
    image_ = open(storage_);
  }

  void run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE(fmt::format("step {}", i));
      step();
      if (pick(4) == 0) compare();
    }
    image_->close();
    image_ = open(storage_, true);
    compare();
    const CheckReport report = image_->check();
    EXPECT_EQ(report.corruptions, 0u);
    EXPECT_EQ(report.leaks, 0u);
  }

 private:
  std::uint64_t pick(std::uint64_t n) { return random_() % n; }
  std::uint64_t draw_size() { return 512 * (1 + pick(4 << 10)); }

  void step() {
    const std::uint64_t choice = pick(20);
    if (choice < 10) {
      change_range();
    } else if (choice < 16) {
      change_bitmaps();
    } else if (choice < 18) {
      change_whole();
    } else {
      image_->close();
      image_ = open(storage_);
    }
  }

  void note(std::uint64_t begin, std::uint64_t length) {
    for (auto& [name, bitmap] : model_) {
      if (bitmap.enabled) bitmap.mark(begin, length);
    }
  }

  void change_range() {
    std::uint64_t begin = pick(size_);
    std::uint64_t length = std::min(1 + pick(pick(2) == 0 ? 3 * cluster_ : 600), size_ - begin);
    SCOPED_TRACE(fmt::format("range {}+{}", begin, length));
    switch (pick(6)) {
      case 0:
      case 1:
        image_->write(begin, make_content(pick(100), length));
        break;
      case 2:
        image_->write_zeroes(begin, length, pick(2) == 0);
        break;
      case 3:
        image_->discard(begin, length);
        break;
      case 4: {
        begin -= begin % cluster_;
        length = std::min(cluster_, size_ - begin);
        const auto plain = make_content(pick(100), length);
        image_->write_compressed(begin, image_->compress(plain), plain);
        break;
      }
      default:
        begin -= begin % cluster_;
        length = std::min((1 + pick(3)) * cluster_, size_ - begin);
        image_->write_in_place(
            begin, length,
            [](Storage& storage, std::uint64_t host, std::uint64_t, std::uint64_t bytes) {
              storage.write(host, make_content(7, bytes));
            });
    }
    note(begin, length);
  }

  void add() {
    const std::string name = fmt::format("bitmap {}", ++added_);
    const Image::NewBitmap bitmap{name, std::uint64_t{512} << pick(9), pick(3) != 0};
    image_->add_bitmap(bitmap);
    model_[name] = {bitmap.granularity_bytes, bitmap.enabled, {}};
    model_[name].resize(size_);
  }

  void change_bitmaps() {
    if (model_.size() < 2) {
      add();
      return;
    }
    const auto any = [&] {
      return std::next(model_.begin(), static_cast<std::ptrdiff_t>(pick(model_.size())));
    };
    auto& [name, bitmap] = *any();
    switch (pick(7)) {
      case 0:
        if (model_.size() < 5) add();
        break;
      case 1:
        image_->remove_bitmap(name);
        model_.erase(name);
        break;
      case 2:
        image_->clear_bitmap(name);
        bitmap.dirty.assign(bitmap.dirty.size(), false);
        break;
      case 3:
        bitmap.enabled = !bitmap.enabled;
        image_->enable_bitmap(name, bitmap.enabled);
        break;
      case 4: {
        const std::uint64_t begin = pick(size_);
        const std::uint64_t length = pick(size_ - begin + 1);
        image_->mark_bitmap(name, begin, length);
        bitmap.mark(begin, length);
        break;
      }
      default: {
        const auto& [source_name, source] = *any();
        image_->merge_bitmap(name, *image_, source_name);
        const std::vector<bool> dirty = source.dirty;
        for (std::size_t g = 0; g < dirty.size(); ++g) {
          if (!dirty[g]) continue;
          const std::uint64_t begin = g * source.granule;
          bitmap.mark(begin, std::min(source.granule, size_ - begin));
        }
      }
    }
  }

  void set_size(std::uint64_t size) {
    size_ = size;
    for (auto& [name, bitmap] : model_) bitmap.resize(size_);
  }

  void change_whole() {
    switch (pick(4)) {
      case 0:
        image_->make_empty();
        note(0, size_);
        break;
      case 1:
        if (image_->snapshots().empty()) {
          take_snapshot(*image_);
          snapshot_size_ = size_;
          break;
        }
        image_->apply_snapshot({.id = {}, .name = "s"});
        set_size(snapshot_size_);
        note(0, size_);
        break;
      default:
        const std::uint64_t size = draw_size();
        ResizeOptions options;
        options.may_shrink = true;
        image_->resize(size, options);
        set_size(size);
    }
  }

  void compare() {
    const std::vector<BitmapInfo> listed = image_->bitmaps();
    ASSERT_EQ(listed.size(), model_.size());
    for (const BitmapInfo& info : listed) {
      ASSERT_TRUE(model_.contains(info.name));
      const ModelBitmap& expected = model_[info.name];
      EXPECT_EQ(info.granularity_bytes, expected.granule);
      EXPECT_EQ(info.automatic, expected.enabled);
      EXPECT_FALSE(info.in_use);
      EXPECT_EQ(dirty_runs(*image_, info.name), expected.runs(size_)) << info.name;
    }
  }

  std::mt19937_64 random_;
  std::uint64_t cluster_ = 0;
  std::uint64_t size_ = 0;
  std::uint64_t snapshot_size_ = 0;
  int added_ = 0;
  std::shared_ptr<MemoryStorage> storage_;
  std::unique_ptr<Image> image_;
  std::map<std::string, ModelBitmap> model_;
};

TEST(Bitmap, RandomChangesMarkExactlyWhatTheyTouch) {
  for_each_seed(
      kIsSanitized ? 10 : 60,
      [](std::uint64_t seed) {
        SCOPED_TRACE(fmt::format("QCOWKIT_SEED={}", seed));
        BitmapTrial(seed).run(80);
      },
      [] { return testing::Test::HasFailure(); });
}

// --- Single facts ------------------------------------------------------------------------------

TEST(Bitmap, FormatsWithoutBitmapsSaySo) {
  const auto image = open(make_image(1 << 20));
  const auto raw_storage = make_image(1 << 20, 0, "raw");
  OpenOptions options;
  options.format = "raw";
  options.read_only = false;
  const auto raw = Image::open(std::make_unique<FaultStorage>(raw_storage), options);
  EXPECT_TRUE(image->bitmaps().empty());
  EXPECT_EQ(error_of([&] { raw->bitmaps(); }).code(), Errc::unsupported);
  EXPECT_EQ(error_of([&] { raw->add_bitmap({.name = "b"}); }).code(), Errc::unsupported);
}

TEST(Bitmap, MergeCrossesImagesAndGranularities) {
  const auto source = open(make_image(1 << 20));
  const auto target = open(make_image(1 << 20, 4096));
  source->add_bitmap({.name = "fine", .granularity_bytes = 512});
  source->write(70000, make_content(3, 1000));
  target->add_bitmap({.name = "coarse", .granularity_bytes = 32768});
  target->add_bitmap({.name = "finer", .granularity_bytes = 512, .enabled = false});
  target->merge_bitmap("coarse", *source, "fine");
  target->merge_bitmap("finer", *target, "coarse");
  EXPECT_EQ(dirty_runs(*source, "fine"), "69632+1536 ");
  EXPECT_EQ(dirty_runs(*target, "coarse"), "65536+32768 ");
  EXPECT_EQ(dirty_runs(*target, "finer"), "65536+32768 ");
}

TEST(Bitmap, MergeOfOrIntoNothingFails) {
  const auto image = open(make_image(1 << 20));
  image->add_bitmap({.name = "b"});
  for (const auto& merge :
       std::vector<std::pair<std::string, std::string>>{{"b", "none"}, {"none", "b"}}) {
    const Error error = error_of([&] { image->merge_bitmap(merge.first, *image, merge.second); });
    EXPECT_EQ(error.code(), Errc::invalid_argument);
    EXPECT_TRUE(mentions(error, {"Dirty bitmap 'none' not found"}));
  }
}

TEST(Bitmap, SnapshotAppliedMakesEverythingDirty) {
  const auto image = open(make_image(1 << 20));
  take_snapshot(*image);
  ResizeOptions options;
  options.may_shrink = true;
  image->resize(512 << 10, options);
  image->add_bitmap({.name = "b"});
  image->add_bitmap({.name = "disabled", .granularity_bytes = 0, .enabled = false});
  image->apply_snapshot({.id = {}, .name = "s"});
  EXPECT_EQ(dirty_runs(*image, "b"), "0+1048576 ");
  EXPECT_EQ(dirty_runs(*image, "disabled"), "");
}

TEST(Bitmap, DiskGrownLaterIsCleanThereAndLastGranuleStays) {
  const auto storage = make_image((64 << 10) + 512);
  auto image = open(storage);
  image->add_bitmap({.name = "b", .granularity_bytes = 4096});
  image->write(64 << 10, make_content(3, 512));
  image->resize(1 << 20, {});
  image->close();
  image = open(storage);
  EXPECT_EQ(dirty_runs(*image, "b"), "65536+4096 ");
}

TEST(Bitmap, ZeroesAndDiscardsMarkWhatWasAskedFor) {
  const auto storage = make_image(1 << 20);
  auto image = open(storage);
  image->add_bitmap({.name = "b"});
  image->write_zeroes(0, 65536, true);
  image->discard(131072, 65536);
  image->discard(262144 + 5, 10);  // too short to give anything back, but asked for
  EXPECT_EQ(dirty_runs(*image, "b"), "0+65536 131072+65536 262144+65536 ");
}

TEST(Bitmap, ManyBitmapsAreStoredAndFound) {
  const auto storage = make_image(1 << 20, 512);
  auto image = open(storage);
  for (int i = 0; i < 300; ++i) {
    image->add_bitmap({.name = fmt::format("{:0>100}", i), .granularity_bytes = 512});
  }
  image->write(512 * 9, make_content(3, 512));
  image->close();
  image = open(storage);
  EXPECT_EQ(image->bitmaps().size(), 300u);
  EXPECT_EQ(dirty_runs(*image, fmt::format("{:0>100}", 299)), "4608+512 ");
  EXPECT_EQ(image->check().corruptions + image->check().leaks, 0u);
}

}  // namespace
}  // namespace qcowkit::test
