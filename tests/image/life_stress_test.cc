// Writers and readers go on while the image as a whole is changed: each finds what it has written.
//
// QCOWKIT_SEEDS=n runs n rounds. Threads do not replay: a seed only says what they ask for.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "qcowkit/image.h"
#include "storage/memory_storage.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/fault_storage.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeds.h"

namespace qcowkit::test {
namespace {

constexpr std::uint64_t kCluster = 4096;
constexpr std::size_t kWriters = 3;
constexpr std::uint64_t kPartClusters = 24;  ///< of each writer
/// The writers' parts. What is behind them comes and goes.
constexpr std::uint64_t kSmallestDisk = kWriters * kPartClusters * kCluster;

struct StressCase {
  std::string name;
  CreateOptions create;
  std::uint64_t l2_cache_bytes = 0;
};
void PrintTo(const StressCase& c, std::ostream* out) { *out << c.name; }

/// One round: the image, what its writers have written, and what goes wrong.
class LifeStress {
 public:
  LifeStress(const StressCase& c, std::uint64_t seed)
      : seed_(seed), storage_(std::make_shared<MemoryStorage>("disk.qcow2")) {
    CreateOptions create = c.create;
    create.format = "qcow2";
    create.size_bytes = kSmallestDisk;
    create.cluster_size_bytes = kCluster;
    Image::create(*storage_, create);
    options_.read_only = false;
    options_.l2_cache_bytes = c.l2_cache_bytes;
    options_.overlap_checks = overlap::kAll;
    image_ = open(options_);
    parts_.assign(kWriters, std::vector<std::byte>(kPartClusters * kCluster));
  }

  void run() {
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < kWriters; ++i) start(threads, [this, i] { write_part(i); });
    start(threads, [this] { read_all_over(); });
    start(threads, [this] { flush_and_check(); });
    guarded([this] { change_image(); });
    is_over_ = true;
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(failure_, "");
    expect_all(*image_);
    image_->close();
    const auto again = open(options_);
    expect_all(*again);
    const CheckReport report = again->check();
    EXPECT_EQ(report.corruptions + report.leaks + report.check_errors, 0u)
        << (report.messages.empty() ? "" : report.messages.front());
    again->close();
    expect_snapshots();
  }

 private:
  std::unique_ptr<Image> open(const OpenOptions& options) const {
    return Image::open(std::make_unique<FaultStorage>(storage_), options);
  }
  template <typename Work>
  void start(std::vector<std::thread>& threads, Work work) {
    threads.emplace_back([this, work] { guarded(work); });
  }
  template <typename Work>
  void guarded(Work work) {
    try {
      work();
    } catch (const std::exception& error) {
      fail(error.what());
    }
  }
  void fail(const std::string& what) {
    const std::lock_guard lock(failure_mutex_);
    if (failure_.empty()) failure_ = what;
    is_over_ = true;
  }

  /// A writer knows every byte of its part.
  void write_part(std::size_t index) {
    std::mt19937_64 random(seed_ * 100 + index);
    std::vector<std::byte>& model = parts_[index];
    const std::uint64_t begin = index * model.size();
    std::vector<std::byte> found(model.size());
    while (!is_over_) {
      const std::uint64_t at = random() % model.size();
      const std::uint64_t length =
          std::min<std::uint64_t>(1 + random() % (3 * kCluster), model.size() - at);
      const bool zeroes = random() % 4 == 0;
      const auto bytes = make_content(zeroes ? 0 : random() % 1000, length);
      if (zeroes) {
        image_->write_zeroes(begin + at, length, random() % 2 == 0);
      } else {
        image_->write(begin + at, bytes);
      }
      std::ranges::copy(bytes, model.begin() + static_cast<std::ptrdiff_t>(at));
      image_->read(begin, found);
      if (found != model) return fail("writer " + std::to_string(index) + " reads something else");
    }
  }

  /// Reads what others are changing, also where the disk may just have ended.
  void read_all_over() {
    std::vector<std::byte> found(8 * kCluster);
    std::mt19937_64 random(seed_);
    while (!is_over_) {
      const std::uint64_t size = image_->virtual_size();
      try {
        image_->read(random() % (size - found.size()), found);
        image_->map(random() % size, 1);
      } catch (const Error& error) {
        if (error.code() != Errc::invalid_argument) throw;
      }
    }
  }

  void flush_and_check() {
    while (!is_over_) {
      image_->flush();
      const CheckReport report = image_->check();
      if (report.corruptions + report.check_errors != 0) {
        return fail("check: " + report.messages.front());
      }
      image_->snapshots();
      image_->info();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  void change_image() {
    constexpr int kChanges = kIsSanitized ? 40 : 150;
    std::mt19937_64 random(seed_ + 1);
    for (int i = 0; i < kChanges && !is_over_; ++i) {
      switch (random() % 6) {
        case 0:
        case 1:
          take_snapshot(std::to_string(i));
          break;
        case 2:
          delete_some_snapshot(random);
          break;
        case 3:
          image_->resize(kSmallestDisk + random() % 2000 * 512, {Preallocation::off, true});
          break;
        case 4:
          image_->write_vm_state(random() % 100000, make_content(random() % 100, 5000));
          break;
        default:
          amend(random);
      }
    }
  }

  void take_snapshot(const std::string& name) {
    if (image_->snapshots().size() >= 4) return;
    image_->create_snapshot({.name = name});
    // What it holds is what it will hold.
    snapshots_.push_back({name, read_snapshot(name)});
  }
  void delete_some_snapshot(std::mt19937_64& random) {
    if (snapshots_.empty()) return;
    const auto which =
        snapshots_.begin() + static_cast<std::ptrdiff_t>(random() % snapshots_.size());
    image_->delete_snapshot({{}, which->name});
    snapshots_.erase(which);
  }
  void amend(std::mt19937_64& random) {
    AmendOptions options;
    if (random() % 2 == 0) {
      options.refcount_bits = 8u << random() % 4;
    } else {
      options.lazy_refcounts = random() % 2 == 0;
    }
    image_->amend(options);
  }

  std::vector<std::byte> read_snapshot(const std::string& name) const {
    OpenOptions options;
    options.snapshot.name = name;
    const auto view = open(options);
    std::vector<std::byte> disk(view->virtual_size());
    view->read(0, disk);
    return disk;
  }

  void expect_all(Image& image) const {
    for (std::size_t i = 0; i < kWriters; ++i) {
      std::vector<std::byte> found(parts_[i].size());
      image.read(i * found.size(), found);
      EXPECT_TRUE(found == parts_[i]) << "part " << i;
    }
  }
  void expect_snapshots() const {
    for (const Snapshot& snapshot : snapshots_) {
      EXPECT_TRUE(read_snapshot(snapshot.name) == snapshot.disk) << "snapshot " << snapshot.name;
    }
  }

  struct Snapshot {
    std::string name;
    std::vector<std::byte> disk;
  };

  const std::uint64_t seed_;
  const std::shared_ptr<MemoryStorage> storage_;
  OpenOptions options_;
  std::unique_ptr<Image> image_;
  std::vector<std::vector<std::byte>> parts_;  // each of one thread
  std::vector<Snapshot> snapshots_;            // of the changing thread
  std::atomic<bool> is_over_{false};
  std::mutex failure_mutex_;
  std::string failure_;
};

class LifeStressTest : public testing::TestWithParam<StressCase> {};

TEST_P(LifeStressTest, WritersFindWhatTheyWroteWhileTheImageChanges) {
  for_each_seed(
      1,
      [&](std::uint64_t seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        LifeStress(GetParam(), seed).run();
      },
      [] { return HasFailure(); });
}

std::vector<StressCase> cases() {
  std::vector<StressCase> all(3);
  all[0].name = "Plain";
  all[1].name = "TinyCache";
  all[1].l2_cache_bytes = 512;
  all[2].name = "Lazy";
  all[2].create.lazy_refcounts = true;
  return all;
}

INSTANTIATE_TEST_SUITE_P(Cases, LifeStressTest, testing::ValuesIn(cases()),
                         [](const auto& c) { return c.param.name; });

}  // namespace
}  // namespace qcowkit::test
