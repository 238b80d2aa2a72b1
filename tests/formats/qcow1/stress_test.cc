// Many threads on one image: every read sees what it may see, and the image opened again holds what
// was written last.
//
// QCOWKIT_SEEDS=n runs n rounds for each shape; QCOWKIT_SEED=s replays one.
#include <gtest/gtest.h>

#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/formats/qcow1/disk_shape.h"
#include "tests/support/fault_storage.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeds.h"
#include "tests/support/unit_history.h"

namespace qcowkit::test {
namespace {

constexpr std::uint64_t kUnitBytes = UnitHistory::kUnitBytes;
constexpr std::size_t kThreads = 4;
constexpr std::size_t kRequests = kIsSanitized ? 300 : 1500;

/// The threads' requests, and what they must find.
class Stress {
 public:
  Stress(const Qcow1Shape& shape, Layer& layer, UnitHistory& history)
      : shape_(shape), layer_(layer), history_(history), units_(shape.size_bytes / kUnitBytes) {}

  void run(std::uint64_t seed) {
    std::vector<std::thread> running;
    for (std::size_t i = 0; i < kThreads; ++i) {
      running.emplace_back([this, i, seed] {
        std::mt19937_64 random(seed * 1000 + i);
        try {
          for (std::size_t r = 0; r < kRequests; ++r) request(i, r, random);
        } catch (const std::exception& error) {
          fail(error.what());
        }
      });
    }
    for (std::thread& thread : running) thread.join();
    EXPECT_EQ(failure_, "");
  }

  void expect_final_content(Layer& layer) {
    const std::uint64_t began = history_.now();
    std::vector<std::byte> disk(shape_.size_bytes);
    layer.read({0}, disk);
    EXPECT_EQ(history_.judge(0, disk, began), std::nullopt);
  }

 private:
  struct Range {  // of units
    std::uint64_t first;
    std::uint64_t end;
    GuestOffset offset() const { return {first * kUnitBytes}; }
    std::uint64_t bytes() const { return (end - first) * kUnitBytes; }
  };

  void fail(const std::string& what) {
    const std::lock_guard lock(failure_mutex_);
    if (failure_.empty()) failure_ = what;
  }

  std::uint64_t units_in_cluster() const { return shape_.cluster_size() / kUnitBytes; }

  /// Mostly where the others are.
  Range draw_range(std::mt19937_64& random) const {
    const std::uint64_t hot = std::min(units_, 8 * units_in_cluster());
    const std::uint64_t first = random() % (random() % 4 == 0 ? units_ : hot);
    const std::uint64_t length = 1 + random() % (random() % 3 == 0 ? 3 * units_in_cluster() : 4);
    return {first, std::min(first + length, units_)};
  }

  void request(std::size_t thread, std::size_t number, std::mt19937_64& random) {
    const Range range = draw_range(random);
    const UnitHistory::Value stamp = (thread + 1) << 48 | number << 8 | 0x5a;
    const std::uint64_t draw = random() % 64;
    if (draw < 26) {
      read(range);
    } else if (draw < 46) {
      write(range, stamp);
    } else if (draw < 51) {
      change(range, 0, [&] { layer_.write_zeroes(range.offset(), range.bytes(), draw % 2 == 0); });
    } else if (draw < 57) {
      write_compressed(range, stamp);
    } else if (draw < 60) {
      layer_.map(range.offset(), range.bytes());
    } else if (draw < 63) {
      layer_.flush();
    } else {
      change({0, units_}, 0, [&] { layer_.make_empty(); });
    }
  }

  template <typename Request>
  void change(Range range, UnitHistory::Value value, Request request) {
    const std::uint64_t began = history_.begin_write(range.first, range.end, value);
    request();
    history_.end_write(range.first, range.end, began);
  }

  void read(Range range) {
    std::vector<std::byte> bytes(range.bytes());
    const std::uint64_t began = history_.now();
    layer_.read(range.offset(), bytes);
    if (const auto wrong = history_.judge(range.first, bytes, began)) fail(*wrong);
  }

  void write(Range range, UnitHistory::Value stamp) {
    std::vector<std::byte> bytes(range.bytes());
    UnitHistory::fill(bytes, stamp);
    change(range, stamp, [&] { layer_.write(range.offset(), bytes); });
  }

  void write_compressed(Range range, UnitHistory::Value stamp) {
    const std::uint64_t first = range.first / units_in_cluster() * units_in_cluster();
    const Range cluster = {first, std::min(first + units_in_cluster(), units_)};
    std::vector<std::byte> bytes(cluster.bytes());
    UnitHistory::fill(bytes, stamp);
    const CompressedCluster compressed = layer_.compress(bytes, 0);
    change(cluster, stamp, [&] { layer_.write_compressed(cluster.offset(), compressed, bytes); });
  }

  const Qcow1Shape& shape_;
  Layer& layer_;
  UnitHistory& history_;
  const std::uint64_t units_;

  std::mutex failure_mutex_;
  std::string failure_;
};

class Qcow1Stress : public testing::TestWithParam<Qcow1Shape> {};

TEST_P(Qcow1Stress, ReadsSeeWhatIsThere) {
  const Qcow1Shape& shape = GetParam();
  for_each_seed(
      1,
      [&](std::uint64_t seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        const auto file = std::make_shared<MemoryStorage>("disk.qcow");
        format_qcow1(*file, shape);
        UnitHistory history(std::vector<UnitHistory::Value>(shape.size_bytes / kUnitBytes));
        Qcow1Disk disk(shape, std::make_unique<FaultStorage>(file));
        Stress stress(shape, disk.layer(), history);
        stress.run(seed);
        stress.expect_final_content(disk.layer());
        disk.layer().close();
        Qcow1Disk again(shape, std::make_unique<FaultStorage>(file), Qcow1Disk::Mode::read_only);
        stress.expect_final_content(again.layer());
      },
      [] { return HasFailure(); });
}

std::vector<Qcow1Shape> shapes() {
  return {
      {"Usual", 12, 9, 64 * 4096},
      {"SmallTablesTinyCache", 9, 6, 500 * 512, false, false, 1},
      {"LargeTablesTinyCache", 9, 13, 500 * 512, false, false, 1},
      {"LargeClusters", 16, 6, 16 * 65536},
      {"Encrypted", 12, 6, 64 * 4096, false, true},
  };
}

INSTANTIATE_TEST_SUITE_P(Shapes, Qcow1Stress, testing::ValuesIn(shapes()),
                         [](const auto& which) { return which.param.name; });

}  // namespace
}  // namespace qcowkit::test
