// The reference as a second opinion: it counts what we count, and finds our repairs good.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/formats/qcow2/check_damages.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::qcow2 {
namespace {

using test::Damage;
using test::SmallImage;
using test::Verdict;

/// What the reference says of an image; all of its numbers. An image with a data file gets an
/// empty one (a check does not read it).
nlohmann::json ask_reference(const SmallImage& image) {
  const qcowkit::test::TempDir dir;
  image.save(dir.file("image"));
  std::string how = "driver=qcow2,file.driver=file,file.filename=" + dir.file("image");
  if (image.shape.data_file) {
    std::ofstream(dir.file("data"));
    how += ",data-file.driver=file,data-file.filename=" + dir.file("data");
  }
  const auto result =
      qcowkit::test::run({"qemu-img", "check", "--output=json", "--image-opts", how});
  if (result.out.empty()) throw std::runtime_error("no report: " + result.err);
  return nlohmann::json::parse(result.out);
}

std::uint64_t number(const nlohmann::json& report, const char* key) {
  return report.value(key, std::uint64_t{0});
}

void expect_same(const CheckReport& ours, const nlohmann::json& theirs) {
  EXPECT_EQ(ours.corruptions, number(theirs, "corruptions"));
  EXPECT_EQ(ours.leaks, number(theirs, "leaks"));
  EXPECT_EQ(ours.check_errors, number(theirs, "check-errors"));
  EXPECT_EQ(ours.total_clusters, number(theirs, "total-clusters"));
  EXPECT_EQ(ours.allocated_clusters, number(theirs, "allocated-clusters"));
  EXPECT_EQ(ours.fragmented_clusters, number(theirs, "fragmented-clusters"));
  EXPECT_EQ(ours.compressed_clusters, number(theirs, "compressed-clusters"));
  EXPECT_EQ(ours.image_end_offset, number(theirs, "image-end-offset"));
}

class ReferenceCheck : public testing::TestWithParam<Damage> {
 protected:
  void SetUp() override {
    if (!qcowkit::test::have_command("qemu-img")) GTEST_SKIP() << "no qemu-img";
  }
};

TEST_P(ReferenceCheck, CountsTheSame) {
  const SmallImage image = GetParam().make();
  auto storage = image.storage();
  expect_same(test::check(*storage), ask_reference(image));
}

TEST_P(ReferenceCheck, AgreesWithWhatRepairLeaves) {
  const SmallImage image = GetParam().make();
  auto storage = image.storage();
  const CheckReport ours = test::check(*storage, Repair::all);
  SmallImage repaired = image;
  repaired.bytes.resize(storage->size());
  storage->read(0, repaired.bytes);
  expect_same(ours, ask_reference(repaired));
}

/// Where the two do not differ by intent.
std::vector<Damage> agreed_damages() {
  std::vector<Damage> agreed;
  std::ranges::copy_if(test::damages(), std::back_inserter(agreed), &Damage::reference_agrees);
  return agreed;
}

INSTANTIATE_TEST_SUITE_P(Damages, ReferenceCheck, testing::ValuesIn(agreed_damages()),
                         [](const testing::TestParamInfo<Damage>& damage) {
                           return damage.param.name;
                         });

class ReferenceCheckOfSoundImages : public testing::TestWithParam<test::ImageShape> {};

TEST_P(ReferenceCheckOfSoundImages, CountsTheSame) {
  if (!qcowkit::test::have_command("qemu-img")) GTEST_SKIP() << "no qemu-img";
  // The reference wants a key for an encrypted image, even to check it.
  SmallImage image(GetParam());
  for (std::uint64_t i = 0; i < 6; ++i) image.map(i);
  image.map_zero(8);
  if (!GetParam().data_file) {
    image.map_compressed(10);
    image.map_compressed(64);
    image.take_snapshot();
    image.map(2);
  }
  image.finish();
  auto storage = image.storage();
  expect_same(test::check(*storage), ask_reference(image));
}

INSTANTIATE_TEST_SUITE_P(Shapes, ReferenceCheckOfSoundImages,
                         testing::Values(test::ImageShape{}, test::ImageShape{.version = 2},
                                         test::ImageShape{.cluster_bits = 16},
                                         test::ImageShape{.refcount_order = 2},
                                         test::ImageShape{.refcount_order = 6},
                                         test::ImageShape{.cluster_bits = 14, .extended_l2 = true},
                                         test::ImageShape{.data_file = true}));

}  // namespace
}  // namespace qcowkit::qcow2
