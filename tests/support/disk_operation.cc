#include "tests/support/disk_operation.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "base/checked.h"

namespace qcowkit::test {

namespace {

constexpr std::array kNames = {"write",          "read",
                               "write_zeroes",   "write_zeroes_unmap",
                               "discard",        "write_compressed",
                               "write_in_place", "flush",
                               "check",          "reopen"};

/// How often each kind comes, in the order of the kinds.
const std::array kWeights = {30, 10, 10, 10, 10, 12, 8, 6, 3, 4};

class Drawer {
 public:
  Drawer(std::mt19937_64& random, const OperationSpace& space) : random_(random), space_(space) {}

  Operation draw() {
    Operation operation;
    operation.kind = static_cast<OperationKind>(kinds_(random_));
    operation.content = below(1000);
    if (operation.kind == OperationKind::write_compressed && !space_.can_compress) {
      operation.kind = OperationKind::write;
    }
    draw_range(operation);
    return operation;
  }

 private:
  std::uint64_t below(std::uint64_t end) { return end == 0 ? 0 : random_() % end; }

  std::uint64_t draw_offset() {
    const std::uint64_t size = space_.virtual_size_bytes;
    const std::uint64_t window = 8 * space_.cluster_size_bytes;
    std::uint64_t start = 0;
    switch (below(4)) {
      case 0:
        start = size - std::min(size, window);
        break;
      case 1:
        start = std::min(size, space_.l2_table_covers_bytes);
        start -= std::min(start, window / 2);
        break;
      default:
        break;
    }
    return std::min(start + below(window), size - 1);
  }

  void draw_range(Operation& operation) {
    const std::uint64_t cluster = space_.cluster_size_bytes;
    operation.guest_offset = draw_offset();
    const std::uint64_t shape = below(8);
    if (shape < 3) {
      operation.guest_offset = align_down(operation.guest_offset, cluster);
    } else if (shape < 6) {
      operation.guest_offset = align_down(operation.guest_offset, 512);
    }
    switch (below(4)) {
      case 0:
        operation.length_bytes = 1 + below(cluster);
        break;
      case 1:
        operation.length_bytes = cluster * (1 + below(4));
        break;
      case 2:
        operation.length_bytes = 512 * (1 + below(16));
        break;
      default:
        operation.length_bytes = 1 + below(6 * cluster);
        break;
    }
    if (operation.kind == OperationKind::write_compressed) operation.length_bytes = cluster;
    if (operation.kind == OperationKind::write_compressed ||
        operation.kind == OperationKind::write_in_place) {
      operation.guest_offset = align_down(operation.guest_offset, cluster);
      operation.length_bytes = align_up(operation.length_bytes, cluster);
    }
    operation.length_bytes =
        std::min(operation.length_bytes, space_.virtual_size_bytes - operation.guest_offset);
  }

  std::mt19937_64& random_;
  const OperationSpace space_;
  std::discrete_distribution<int> kinds_{kWeights.begin(), kWeights.end()};
};

}  // namespace

std::string describe(const Operation& operation) {
  return fmt::format("{} {}+{} #{}", kNames.at(static_cast<std::size_t>(operation.kind)),
                     operation.guest_offset, operation.length_bytes, operation.content);
}

std::string describe(const std::vector<Operation>& operations) {
  std::string text;
  for (const Operation& operation : operations) text += "  " + describe(operation) + "\n";
  return text;
}

std::vector<Operation> draw_operations(std::mt19937_64& random, const OperationSpace& space,
                                       std::size_t count) {
  Drawer drawer(random, space);
  std::vector<Operation> operations(count);
  for (Operation& operation : operations) operation = drawer.draw();
  return operations;
}

}  // namespace qcowkit::test
