// Clusters and L2 tables that the reference's internal snapshots share with the active disk: our
// writes must leave the snapshots as they are.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/interchange/image_kinds.h"
#include "tests/support/content.h"
#include "tests/support/modelled_image.h"
#include "tests/support/reference_tools.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::ImageKind;
using test::Operation;

std::vector<ImageKind> kinds_with_snapshots() {
  std::vector<ImageKind> kinds;
  for (const ImageKind& kind : test::image_kinds()) {
    if (kind.can_have_snapshots()) kinds.push_back(kind);
  }
  return kinds;
}

std::vector<std::byte> read_snapshot(const std::string& path, const std::string& name) {
  const std::string raw = path + ".snapshot.raw";
  test::qemu_img({"convert", "-f", "qcow2", "-O", "raw", "-t", "unsafe", "-l",
                  "snapshot.name=" + name, path, raw});
  return test::read_file(raw);
}

/// Random operations of ours, checked against what the disk held before and by the reference.
std::optional<std::string> write_randomly(const ImageKind& kind, const std::string& path,
                                          std::uint64_t seed) {
  const auto content = test::read_by_reference(path);  // before the image is locked
  test::ModelledImage disk(test::open_for_writing(path), content, kind.discards());
  if (auto wrong = disk.compare_all()) return wrong;
  if (auto wrong = disk.check(true)) return wrong;
  const std::uint64_t cluster = kind.options.cluster_size_bytes;
  std::mt19937_64 random(seed);
  for (const Operation& operation : test::draw_operations(
           random, {*kind.options.size_bytes, cluster, cluster * cluster / 8, true}, 40)) {
    if (operation.kind == test::OperationKind::reopen) continue;
    if (auto wrong = disk.apply(operation)) return describe(operation) + ": " + *wrong;
  }
  disk.image().close();
  return test::ask_reference(path, disk.model());
}

class Snapshots : public testing::TestWithParam<ImageKind> {
 protected:
  void write(std::uint64_t seed) {
    const auto wrong = write_randomly(GetParam(), path_, seed);
    ASSERT_FALSE(wrong) << "seed " << seed << ": " << *wrong;
  }

  const test::TempDir dir_;
  const std::string path_ = make_by_reference(GetParam(), dir_.path().string());
};

TEST_P(Snapshots, WritesToTheActiveDiskLeaveThemAsTheyAre) {
  write(1);
  test::qemu_img({"snapshot", "-c", "one", path_});
  const auto one = read_snapshot(path_, "one");
  write(2);
  test::qemu_img({"snapshot", "-c", "two", path_});
  const auto two = read_snapshot(path_, "two");
  write(3);

  EXPECT_EQ(read_snapshot(path_, "one"), one);
  EXPECT_EQ(read_snapshot(path_, "two"), two);
}

TEST_P(Snapshots, TheReferenceGoesBackToOneAndDeletesAnother) {
  write(1);
  test::qemu_img({"snapshot", "-c", "one", path_});
  const auto one = read_snapshot(path_, "one");
  write(2);
  test::qemu_img({"snapshot", "-c", "two", path_});
  write(3);

  test::qemu_img({"snapshot", "-a", "one", path_});
  EXPECT_EQ(test::read_by_reference(path_), one);
  write(4);
  test::qemu_img({"snapshot", "-d", "two", path_});
  write(5);
  EXPECT_EQ(read_snapshot(path_, "one"), one);
}

std::vector<std::byte> read_view(const std::string& path, const std::string& name) {
  OpenOptions options;
  options.snapshot.name = name;
  const auto image = Image::open(path, options);
  std::vector<std::byte> content(image->virtual_size());
  image->read(0, content);
  return content;
}

void expect_no_errors(const std::string& path) { EXPECT_NO_THROW(test::qemu_img({"check", path})); }

TEST_P(Snapshots, OursAreListedReadAppliedAndDeletedByTheReference) {
  write(1);
  const auto one = test::read_by_reference(path_);
  const auto image = test::open_for_writing(path_);
  EXPECT_EQ(image->create_snapshot({.name = "one"}).id, "1");
  image->close();
  expect_no_errors(path_);
  write(2);
  const auto two = test::read_by_reference(path_);
  const auto again = test::open_for_writing(path_);
  EXPECT_EQ(again->create_snapshot({.name = "two"}).id, "2");
  again->close();
  write(3);

  EXPECT_EQ(read_snapshot(path_, "one"), one);
  EXPECT_EQ(read_snapshot(path_, "two"), two);
  test::qemu_img({"snapshot", "-a", "one", path_});
  EXPECT_EQ(test::read_by_reference(path_), one);
  test::qemu_img({"snapshot", "-d", "one", path_});
  expect_no_errors(path_);
  EXPECT_EQ(read_view(path_, "two"), two);
}

TEST_P(Snapshots, TheReferencesAreReadAppliedAndDeleted) {
  write(1);
  const auto one = test::read_by_reference(path_);
  test::qemu_img({"snapshot", "-c", "one", path_});
  write(2);
  const auto two = test::read_by_reference(path_);
  test::qemu_img({"snapshot", "-c", "two", path_});
  write(3);

  EXPECT_EQ(read_view(path_, "one"), one);
  const auto image = test::open_for_writing(path_);
  image->apply_snapshot(SnapshotSelector::id_or_name("two"));
  image->delete_snapshot(SnapshotSelector::id_or_name("1"));
  ASSERT_EQ(image->snapshots().size(), 1u);
  EXPECT_EQ(image->snapshots()[0].name, "two");
  image->close();
  expect_no_errors(path_);
  EXPECT_EQ(test::read_by_reference(path_), two);
  EXPECT_EQ(read_snapshot(path_, "two"), two);
}

TEST_P(Snapshots, AVmStateGoesFromOneToTheOtherAndBack) {
  const auto state = test::make_content(5, 100 * 512);
  const auto image = test::open_for_writing(path_);
  image->write_vm_state(0, state);
  Image::NewSnapshot ours = {.name = "ours"};
  ours.vm_state_size_bytes = state.size();
  image->create_snapshot(ours);
  image->close();
  expect_no_errors(path_);
  test::qemu_img({"snapshot", "-a", "ours", path_});
  // One byte all over.
  test::qemu_io(path_, {fmt::format("read -b -P {} 0 {}", static_cast<int>(state[0]), state.size()),
                        "write -b -P 77 0 64k"});
  const auto again = test::open_for_writing(path_);
  std::vector<std::byte> bytes(64 * 1024);
  again->read_vm_state(0, bytes);
  EXPECT_EQ(bytes, std::vector<std::byte>(bytes.size(), std::byte{77}));
  again->apply_snapshot(SnapshotSelector::id_or_name("ours"));
  bytes.resize(state.size());
  again->read_vm_state(0, bytes);
  EXPECT_EQ(bytes, state);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Snapshots, testing::ValuesIn(kinds_with_snapshots()),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace qcowkit
