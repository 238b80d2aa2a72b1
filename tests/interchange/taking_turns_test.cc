// One image, written in turns by the reference and by us: each must read what the other wrote, and
// go on from there.
#include <gtest/gtest.h>

#include <random>

#include "tests/interchange/image_kinds.h"
#include "tests/support/modelled_image.h"
#include "tests/support/reference_tools.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::ImageKind;
using test::Operation;

constexpr std::size_t kOperationsATurn = 40;

std::vector<Operation> draw_turn(const ImageKind& kind, std::uint64_t seed, bool can_compress) {
  const std::uint64_t cluster = kind.options.cluster_size_bytes;
  std::mt19937_64 random(seed);
  return test::draw_operations(
      random,
      {*kind.options.size_bytes, cluster, cluster * cluster / (kind.options.extended_l2 ? 16 : 8),
       can_compress},
      kOperationsATurn);
}

void reference_turn(const ImageKind& kind, const std::string& path, std::uint64_t seed) {
  // In version 2, the reference (7.2) damages images by zero writes beside compressed clusters.
  const bool can_compress = kind.has_compression() && kind.options.version > 2;
  std::vector<std::string> commands;
  for (const Operation& operation : draw_turn(kind, seed, can_compress)) {
    std::string command = qemu_io_command(operation);
    if (!command.empty()) commands.push_back(std::move(command));
  }
  test::qemu_io_best_effort(path, commands);
}

std::optional<std::string> our_turn(const ImageKind& kind, const std::string& path,
                                    std::uint64_t seed) {
  const auto content = test::read_by_reference(path);  // before the image is locked
  test::ModelledImage disk(test::open_for_writing(path), content, kind.discards());
  if (auto wrong = disk.compare_all()) return "what the reference wrote: " + *wrong;
  if (auto wrong = disk.check(true)) return "what the reference wrote: " + *wrong;
  for (const Operation& operation : draw_turn(kind, seed, kind.has_compression())) {
    if (operation.kind == test::OperationKind::reopen) continue;
    if (auto wrong = disk.apply(operation)) return describe(operation) + ": " + *wrong;
  }
  disk.image().close();
  return test::ask_reference(path, disk.model());
}

class TakingTurns : public testing::TestWithParam<ImageKind> {
 protected:
  const test::TempDir dir_;
};

TEST_P(TakingTurns, OnAnImageOfTheReferenceBothReadTheSame) {
  const std::string path = make_by_reference(GetParam(), dir_.path().string());
  for (std::uint64_t seed = 1; seed <= 4; seed += 2) {
    reference_turn(GetParam(), path, seed);
    const auto wrong = our_turn(GetParam(), path, seed + 1);
    ASSERT_FALSE(wrong) << "seed " << seed << ": " << *wrong;
  }
}

TEST_P(TakingTurns, OnAnImageOfOursBothReadTheSame) {
  const std::string path = make_by_us(GetParam(), dir_.path().string());
  for (std::uint64_t seed = 11; seed <= 14; seed += 2) {
    const auto wrong = our_turn(GetParam(), path, seed);
    ASSERT_FALSE(wrong) << "seed " << seed << ": " << *wrong;
    reference_turn(GetParam(), path, seed + 1);
  }
  const auto wrong = our_turn(GetParam(), path, 15);
  ASSERT_FALSE(wrong) << *wrong;
}

INSTANTIATE_TEST_SUITE_P(Kinds, TakingTurns, testing::ValuesIn(test::image_kinds()),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace qcowkit
