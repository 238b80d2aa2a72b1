// Random sequences of requests on every shape of image, against a byte array.
//
// QCOWKIT_SEEDS=n runs n seeds for each shape; QCOWKIT_SEED=s replays one.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <random>
#include <string>

#include "base/checked.h"
#include "tests/formats/qcow1/disk_shape.h"
#include "tests/support/content.h"
#include "tests/support/disk_operation.h"
#include "tests/support/fault_storage.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeds.h"

namespace qcowkit::test {
namespace {

constexpr std::size_t kOperations = kIsSanitized ? 50 : 120;

/// A disk side by side with what its guest must read.
class ModelledQcow1 {
 public:
  explicit ModelledQcow1(const Qcow1Shape& shape)
      : shape_(shape),
        storage_(std::make_shared<MemoryStorage>("disk.qcow")),
        model_(qcow1_initial_content(shape)) {
    format_qcow1(*storage_, shape);
    open();
  }

  void apply(const Operation& operation) {
    const auto bytes = make_content(operation.content, operation.length_bytes);
    const GuestOffset begin{operation.guest_offset};
    Layer& layer = disk_->layer();
    switch (operation.kind) {
      case OperationKind::write:
        layer.write(begin, bytes);
        return remember(operation.guest_offset, bytes);
      case OperationKind::write_in_place:
        write_in_place(begin, bytes);
        return remember(operation.guest_offset, bytes);
      case OperationKind::write_compressed:
        layer.write_compressed(begin, layer.compress(bytes, 0), bytes);
        return remember(operation.guest_offset, bytes);
      case OperationKind::write_zeroes:
      case OperationKind::write_zeroes_unmap:
        layer.write_zeroes(begin, bytes.size(), operation.kind != OperationKind::write_zeroes);
        return remember(operation.guest_offset, std::vector<std::byte>(bytes.size()));
      case OperationKind::discard:
        return discard(begin, bytes.size());
      case OperationKind::flush:
        return layer.flush();
      case OperationKind::reopen:
        layer.close();
        return open();
      default:
        return;
    }
  }

  /// What is wrong, if anything is, in the clusters around a range.
  std::optional<std::string> compare(std::uint64_t begin, std::uint64_t end) {
    const std::uint64_t margin = 2 * shape_.cluster_size();
    begin -= std::min(begin, margin);
    end = std::min<std::uint64_t>(end + margin, model_.size());
    std::vector<std::byte> read(end - begin);
    disk_->layer().read({begin}, read);
    const auto expected = std::span(model_).subspan(begin, end - begin);
    const auto [here, there] = std::mismatch(read.begin(), read.end(), expected.begin());
    if (here == read.end()) return std::nullopt;
    return fmt::format("byte {} reads as {:#x}, expected {:#x}",
                       begin + static_cast<std::uint64_t>(here - read.begin()),
                       static_cast<unsigned>(*here), static_cast<unsigned>(*there));
  }

  std::optional<std::string> compare_all() {
    if (auto wrong = compare(0, model_.size())) return wrong;
    return compare_map();
  }

 private:
  void open() {
    disk_ = std::make_unique<Qcow1Disk>(shape_, std::make_unique<FaultStorage>(storage_));
  }

  void remember(std::uint64_t guest_offset, std::span<const std::byte> bytes) {
    std::memcpy(model_.data() + guest_offset, bytes.data(), bytes.size());
  }

  void write_in_place(GuestOffset begin, std::span<const std::byte> bytes) {
    disk_->layer().write_in_place(
        begin, bytes.size(),
        [&](Storage& storage, std::uint64_t host_offset, std::uint64_t guest_offset,
            std::uint64_t length_bytes) {
          storage.write(host_offset, bytes.subspan(guest_offset - begin.value, length_bytes));
        });
  }

  /// Whole clusters read as zeroes afterwards, unless there is a backing file.
  void discard(GuestOffset begin, std::uint64_t length_bytes) {
    disk_->layer().discard(begin, length_bytes);
    if (shape_.has_backing) return;
    const std::uint64_t end = begin.value + length_bytes;
    const std::uint64_t from = align_up(begin.value, shape_.cluster_size());
    const std::uint64_t to = end == model_.size() ? end : align_down(end, shape_.cluster_size());
    if (from < to) remember(from, std::vector<std::byte>(to - from));
  }

  /// Whoever moves the bytes himself, as `map` tells, must find the same disk.
  std::optional<std::string> compare_map() {
    Layer& layer = disk_->layer();
    for (std::uint64_t at = 0; at < model_.size();) {
      const LayerExtent extent = layer.map({at}, model_.size() - at);
      if (extent.length_bytes == 0 || extent.length_bytes > model_.size() - at) {
        return fmt::format("map of {} says {} bytes", at, extent.length_bytes);
      }
      std::vector<std::byte> bytes(extent.length_bytes);
      if (extent.kind == ExtentKind::data && !extent.is_encrypted) {
        extent.storage->read(extent.host_offset.value, bytes);
      } else {
        layer.read({at}, bytes);
      }
      if (std::memcmp(bytes.data(), model_.data() + at, bytes.size()) != 0) {
        return fmt::format("map of {}+{} says kind {}, which is not the content", at,
                           extent.length_bytes, static_cast<int>(extent.kind));
      }
      at += extent.length_bytes;
    }
    return std::nullopt;
  }

  const Qcow1Shape shape_;
  const std::shared_ptr<MemoryStorage> storage_;
  std::vector<std::byte> model_;
  std::unique_ptr<Qcow1Disk> disk_;
};

class Qcow1Property : public testing::TestWithParam<Qcow1Shape> {
 protected:
  static void run_seed(std::uint64_t seed) {
    SCOPED_TRACE("QCOWKIT_SEED=" + std::to_string(seed));
    const Qcow1Shape& shape = GetParam();
    std::mt19937_64 random(seed);
    ModelledQcow1 disk(shape);
    const OperationSpace space = {shape.size_bytes, shape.cluster_size(), shape.table_covers()};
    std::string history;
    for (const Operation& operation : draw_operations(random, space, kOperations)) {
      history += describe(operation) + "\n";
      disk.apply(operation);
      const auto wrong =
          disk.compare(operation.guest_offset, operation.guest_offset + operation.length_bytes);
      ASSERT_EQ(wrong, std::nullopt) << history;
    }
    ASSERT_EQ(disk.compare_all(), std::nullopt) << history;
    disk.apply({.kind = OperationKind::reopen});
    ASSERT_EQ(disk.compare_all(), std::nullopt) << "opened again, after\n" << history;
  }
};

TEST_P(Qcow1Property, RandomRequestsMatchAByteArray) {
  for_each_seed(kIsSanitized ? 1 : 12, run_seed, [] { return HasFatalFailure(); });
}

INSTANTIATE_TEST_SUITE_P(Shapes, Qcow1Property, testing::ValuesIn(qcow1_shapes()),
                         [](const auto& which) { return which.param.name; });

}  // namespace
}  // namespace qcowkit::test
