// Many threads on one image: every read returns what was there, or being written, while it ran.
//
// QCOWKIT_SEEDS=n runs n rounds for each kind of image. Threads do not replay: a seed only says
// what they ask for.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <ostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "qcowkit/image.h"
#include "storage/forwarding_storage.h"
#include "tests/support/command.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeds.h"
#include "tests/support/temp_dir.h"
#include "tests/support/unit_history.h"

namespace qcowkit::test {
namespace {

constexpr std::uint64_t kUnitBytes = UnitHistory::kUnitBytes;

/// Lets other threads run in the middle of things.
class UnhurriedStorage final : public ForwardingStorage {
 public:
  using ForwardingStorage::ForwardingStorage;

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override {
    pause();
    ForwardingStorage::readv(host_offset, into);
    pause();
  }
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override {
    pause();
    ForwardingStorage::writev(host_offset, from);
    pause();
  }
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override {
    pause();
    ForwardingStorage::discard(host_offset, length_bytes);
    // What had no right to be discarded stands out.
    pause();
  }
  void flush() override {
    pause();
    ForwardingStorage::flush();
  }

 private:
  static void pause() {
    thread_local std::minstd_rand random(
        static_cast<unsigned>(std::hash<std::thread::id>{}(std::this_thread::get_id())));
    const unsigned draw = random() % 64;
    if (draw < 8) std::this_thread::yield();
    if (draw == 8) std::this_thread::sleep_for(std::chrono::microseconds(30));
  }
};

struct StressCase {
  std::string name;
  CreateOptions create;
  OpenOptions open;
  bool compresses = false;
};

void PrintTo(const StressCase& c, std::ostream* out) { *out << c.name; }

/// One image, its history, and the threads that use both.
class Stress {
 public:
  Stress(const StressCase& c, Image& image, UnitHistory& history)
      : case_(c), image_(image), history_(history), units_(image.virtual_size() / kUnitBytes) {}

  void run(std::uint64_t seed, std::size_t threads, std::size_t requests) {
    std::vector<std::thread> running;
    for (std::size_t i = 0; i < threads; ++i) {
      running.emplace_back([this, i, seed, requests] {
        std::mt19937_64 random(seed * 1000 + i);
        try {
          for (std::size_t r = 0; r < requests && !has_failed(); ++r) request(i, r, random);
        } catch (const std::exception& error) {
          fail(error.what());
        }
      });
    }
    for (std::thread& thread : running) thread.join();
    EXPECT_EQ(failure_, "");
  }

  /// Expects that nothing is there that was overwritten before.
  void expect_final_content(Image& image) {
    const std::uint64_t began = history_.now();
    std::vector<std::byte> disk(image.virtual_size());
    image.read(0, disk);
    EXPECT_EQ(history_.judge(0, disk, began), std::nullopt);
  }

 private:
  struct Range {
    std::uint64_t first;  // units
    std::uint64_t end;

    std::uint64_t offset() const { return first * kUnitBytes; }
    std::uint64_t bytes() const { return (end - first) * kUnitBytes; }
  };

  bool has_failed() {
    const std::lock_guard lock(failure_mutex_);
    return !failure_.empty();
  }
  void fail(const std::string& what) {
    const std::lock_guard lock(failure_mutex_);
    if (failure_.empty()) failure_ = what;
  }

  std::uint64_t units_in_cluster() const { return image_.cluster_size() / kUnitBytes; }

  /// Mostly where the others are.
  Range draw_range(std::mt19937_64& random) const {
    const std::uint64_t hot = std::min(units_, 6 * units_in_cluster());
    const std::uint64_t first = random() % (random() % 4 == 0 ? units_ : hot);
    std::uint64_t length = 1 + random() % (random() % 3 == 0 ? 3 * units_in_cluster() : 4);
    if (random() % 16 == 0) length += 8 * units_in_cluster();
    return {first, std::min(first + length, units_)};
  }
  /// The whole clusters that touch (or, for a discard, lie in) a range.
  Range clusters_around(Range range) const {
    const std::uint64_t c = units_in_cluster();
    return {range.first / c * c, std::min((range.end + c - 1) / c * c, units_)};
  }
  Range clusters_inside(Range range) const {
    const std::uint64_t c = units_in_cluster();
    const std::uint64_t first = (range.first + c - 1) / c * c;
    return {first, std::max(first, range.end == units_ ? units_ : range.end / c * c)};
  }

  void request(std::size_t thread, std::size_t number, std::mt19937_64& random) {
    const Range range = draw_range(random);
    const UnitHistory::Value stamp = (thread + 1) << 48 | number << 8 | 0x5a;
    const std::uint64_t draw = random() % 32;
    if (draw < 12) {
      read(range);
    } else if (draw < 22) {
      write(range, stamp);
    } else if (draw < 25) {
      const std::uint64_t began = history_.begin_write(range.first, range.end, 0);
      image_.write_zeroes(range.offset(), range.bytes(), random() % 2 == 0);
      history_.end_write(range.first, range.end, began);
    } else if (draw < 28) {
      const Range inside = clusters_inside(range);
      const std::uint64_t began = history_.begin_write(inside.first, inside.end, 0);
      image_.discard(range.offset(), range.bytes());
      history_.end_write(inside.first, inside.end, began);
    } else if (draw < 30 && case_.compresses) {
      write_compressed(range, stamp);
    } else if (draw < 31) {
      image_.map(range.offset(), range.bytes());
    } else {
      image_.flush();
    }
  }

  void read(Range range) {
    std::vector<std::byte> bytes(range.bytes());
    const std::uint64_t began = history_.now();
    image_.read(range.offset(), bytes);
    if (const auto wrong = history_.judge(range.first, bytes, began)) fail(*wrong);
  }

  void write(Range range, UnitHistory::Value stamp) {
    std::vector<std::byte> bytes(range.bytes());
    UnitHistory::fill(bytes, stamp);
    const std::uint64_t began = history_.begin_write(range.first, range.end, stamp);
    image_.write(range.offset(), bytes);
    history_.end_write(range.first, range.end, began);
  }

  void write_compressed(Range range, UnitHistory::Value stamp) {
    Range cluster = clusters_around({range.first, range.first + 1});
    std::vector<std::byte> bytes(cluster.bytes());
    UnitHistory::fill(bytes, stamp);
    const CompressedCluster compressed = image_.compress(bytes);
    const std::uint64_t began = history_.begin_write(cluster.first, cluster.end, stamp);
    image_.write_compressed(cluster.offset(), compressed, bytes);
    history_.end_write(cluster.first, cluster.end, began);
  }

  const StressCase& case_;
  Image& image_;
  UnitHistory& history_;
  const std::uint64_t units_;

  std::mutex failure_mutex_;
  std::string failure_;
};

class StressTest : public testing::TestWithParam<StressCase> {
 protected:
  /// What the backing file, if there is one, has in each unit: its number.
  std::vector<UnitHistory::Value> make_backing() {
    const StressCase& c = GetParam();
    std::vector<UnitHistory::Value> values(*c.create.size_bytes / kUnitBytes);
    if (c.create.backing_file.empty()) return values;
    const auto file = open_file(directory_.file(c.create.backing_file), {.create = true});
    std::vector<std::byte> unit(kUnitBytes);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = i % 32 < 8 ? 0 : i << 8 | 0xbb;
      UnitHistory::fill(unit, values[i]);
      file->write(i * kUnitBytes, unit);
    }
    return values;
  }

  void run_round(std::uint64_t seed) {
    constexpr std::size_t kThreads = 4;
    constexpr std::size_t kRequests = kIsSanitized ? 300 : 1500;
    const std::string path = directory_.file("image");
    UnitHistory history(make_backing());
    CreateOptions create = GetParam().create;
    // Its name starts from the working directory, unlike a backing file's.
    if (!create.data_file.empty()) create.data_file = directory_.file(create.data_file);
    Image::create(path, create);
    {
      OpenOptions options = GetParam().open;
      options.read_only = false;
      const auto image = Image::open(
          std::make_unique<UnhurriedStorage>(open_file(path, {.cache = CacheMode::unsafe})),
          options);
      Stress stress(GetParam(), *image, history);
      stress.run(seed, kThreads, kRequests);
      stress.expect_final_content(*image);
      expect_sound(*image);
      image->close();
    }
    SCOPED_TRACE("opened again");
    const auto image = Image::open(path);
    Stress(GetParam(), *image, history).expect_final_content(*image);
    expect_sound(*image);
    if (have_command("qemu-img")) {
      const CommandResult checked = run({"qemu-img", "check", "-f", "qcow2", path});
      EXPECT_TRUE(checked.ok()) << checked.out << checked.err;
    }
  }

  static void expect_sound(Image& image) {
    const CheckReport report = image.check();
    EXPECT_EQ(report.corruptions + report.check_errors + report.leaks, 0u)
        << (report.messages.empty() ? "" : report.messages.front());
  }

  const TempDir directory_;
};

TEST_P(StressTest, ReadsSeeWhatIsThereAndTheImageStaysSound) {
  for_each_seed(
      1,
      [&](std::uint64_t seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        run_round(seed);
      },
      [] { return HasFailure(); });
}

std::vector<StressCase> cases() {
  std::vector<StressCase> all;
  const auto add = [&](std::string name, std::uint64_t size, std::uint64_t cluster_size) -> auto& {
    StressCase c;
    c.name = std::move(name);
    c.create.format = "qcow2";
    c.create.size_bytes = size;
    c.create.cluster_size_bytes = cluster_size;
    c.compresses = true;
    all.push_back(std::move(c));
    return all.back();
  };
  const auto tiny_caches = [](StressCase& c) {
    c.open.l2_cache_bytes = 512;
    c.open.refcount_cache_bytes = 512;
  };
  add("Clusters4096", 64 * 4096, 4096);
  tiny_caches(add("Clusters512TinyCaches", 500 * 512, 512));
  add("Clusters512Refcounts64", 500 * 512, 512).create.refcount_bits = 64;
  add("Clusters65536", 16 * 65536, 65536);
  StressCase& backing = add("Clusters8192Backing", 64 * 8192, 8192);
  backing.create.backing_file = "backing";
  backing.create.backing_format = "raw";
  add("ExtendedL2", 32 * 16384, 16384).create.extended_l2 = true;
  StressCase& extended = add("ExtendedL2Backing", 32 * 16384, 16384);
  extended.create.extended_l2 = true;
  extended.create.backing_file = "backing";
  extended.create.backing_format = "raw";
  add("Lazy", 64 * 4096, 4096).create.lazy_refcounts = true;
  StressCase& version2 = add("Version2", 64 * 4096, 4096);
  version2.create.version = 2;
  StressCase& data_file = add("DataFile", 64 * 4096, 4096);
  data_file.create.data_file = "data";
  data_file.compresses = false;
  return all;
}

INSTANTIATE_TEST_SUITE_P(Cases, StressTest, testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace qcowkit::test
