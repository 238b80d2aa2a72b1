// Images of the reference with every two features together: opened, changed, and checked by both.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "tests/interchange/combination.h"
#include "tests/interchange/luks_tools.h"
#include "tests/support/content.h"
#include "tests/support/modelled_image.h"
#include "tests/support/sanitized.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::Combination;

class Combinations : public testing::TestWithParam<Combination> {
 protected:
  bool is_encrypted() const { return GetParam().encryption != "none"; }
  bool has_data_file() const { return GetParam().data_file != "none"; }
  /// Over a backing file, version 2 cannot say that a cluster is zero.
  bool discards() const { return GetParam().version > 2 || GetParam().backing == "none"; }

  /// The words that name the image to a command of the reference.
  std::vector<std::string> image() const {
    std::string options = "driver=qcow2,file.filename=" + path_;
    if (is_encrypted()) options += ",encrypt.key-secret=s";
    return {"--object", "secret,id=s,data=passphrase", "--image-opts", options};
  }
  std::string reference(const std::string& command, const std::vector<std::string>& arguments) {
    return test::qemu_img(test::joined(test::joined({command}, image()), arguments));
  }
  void reference_io(const std::vector<std::string>& commands) {
    std::vector<std::string> words = test::joined({"qemu-io"}, image());
    for (const std::string& command : commands) words = test::joined(words, {"-c", command});
    const test::CommandResult result = test::run(words);
    ASSERT_TRUE(result.ok()) << result.out << result.err;
  }
  std::vector<std::byte> read_by_reference(const std::vector<std::string>& options = {}) {
    const std::string raw = path_ + ".raw";
    std::vector<std::string> words = {"convert", "-O", "raw", "-t", "unsafe"};
    words = test::joined(test::joined(words, options), image());
    test::qemu_img(test::joined(words, {raw}));
    return test::read_file(raw);
  }

  std::unique_ptr<Image> open() const {
    OpenOptions options;
    options.read_only = false;
    options.cache = CacheMode::unsafe;
    options.overlap_checks = overlap::kAll;
    if (is_encrypted())
      options.secret = std::make_shared<const Secret>(std::string_view("passphrase"));
    return Image::open(path_, options);
  }

  void make() {
    const Combination& c = GetParam();
    std::string options = c.create_options();
    if (has_data_file()) {
      options += fmt::format(",data_file={},data_file_raw={}", dir_.file("data.raw"),
                             c.data_file == "raw" ? "on" : "off");
    }
    std::vector<std::string> words = {"create", "-q",    "--object", "secret,id=s,data=passphrase",
                                      "-f",     "qcow2", "-o",       options};
    if (c.backing != "none") words = test::joined(words, {"-F", c.backing, "-b", make_backing()});
    test::qemu_img(test::joined(words, {path_, std::to_string(c.size_bytes())}));
    if (c.has_bitmap) reference("bitmap", {"--add", "noted"});
    const std::uint64_t cluster = c.cluster_size_bytes;
    reference_io({fmt::format("write -q -P 17 {} {}", cluster, 3 * cluster),
                  fmt::format("write -q -P 33 {} {}", 9 * cluster + cluster / 2, cluster)});
    if (c.has_snapshot) reference("snapshot", {"-q", "-c", "kept"});
    reference_io({fmt::format("write -q -P 51 {} {}", 2 * cluster, 4 * cluster),
                  fmt::format("write -q -z {} {}", 3 * cluster, cluster)});
    if (c.has_compressed_clusters) {
      reference_io({fmt::format("write -q -c -P 71 {} {}", 20 * cluster, cluster)});
    }
  }
  std::string make_backing() {
    const std::string raw = dir_.file("base.raw");
    test::write_file(raw, test::make_content(6, GetParam().size_bytes() / 2));
    if (GetParam().backing == "raw") return raw;
    test::qemu_img({"convert", "-f", "raw", "-O", "qcow2", raw, dir_.file("base.qcow2")});
    return dir_.file("base.qcow2");
  }

  /// What an image can be put through, whatever it is made of.
  void change(test::ModelledImage& disk) {
    const std::uint64_t cluster = GetParam().cluster_size_bytes;
    std::mt19937_64 random(5);
    for (const test::Operation& operation : test::draw_operations(
             random,
             {GetParam().size_bytes(), cluster, 8 * cluster, !has_data_file() && !is_encrypted()},
             12)) {
      if (operation.kind == test::OperationKind::reopen) continue;
      const auto wrong = disk.apply(operation);
      ASSERT_FALSE(wrong) << describe(operation) << ": " << *wrong;
    }
  }
  static void expect_right(const std::optional<std::string>& wrong) {
    if (wrong) ADD_FAILURE() << *wrong;
  }

  const test::TempDir dir_;
  const std::string path_ = dir_.file("disk.qcow2");
};

TEST_P(Combinations, AreOpenedChangedAndCheckedByBoth) {
  make();
  const std::vector<std::byte> content = read_by_reference();
  const bool can_snapshot = !has_data_file() && GetParam().refcount_bits > 1;
  {
    test::ModelledImage disk(open(), content, discards());
    expect_right(disk.compare_all());
    expect_right(disk.check(true));
    if (can_snapshot) disk.image().create_snapshot({.name = "ours"});
    change(disk);
    expect_right(disk.check(true));
    disk.image().close();
    reference("check", {});
    EXPECT_TRUE(read_by_reference() == disk.model());
  }
  if (can_snapshot) {
    EXPECT_TRUE(read_by_reference({"-l", "ours"}) == content);
  }
  const auto image = open();
  if (GetParam().has_snapshot) {
    image->apply_snapshot(SnapshotSelector::id_or_name("kept"));
    image->delete_snapshot(SnapshotSelector::id_or_name("kept"));
  }
  if (GetParam().has_bitmap) {
    const auto bitmaps = image->bitmaps();
    ASSERT_EQ(bitmaps.size(), 1u);
    EXPECT_FALSE(bitmaps[0].in_use);
    EXPECT_TRUE(image->map_bitmap("noted", GetParam().cluster_size_bytes, 512).is_dirty);
  }
  if (GetParam().version == 3 || !can_snapshot) {
    image->resize(GetParam().size_bytes() * 2);
    image->resize(GetParam().size_bytes() / 2, {Preallocation::off, true});
  }
  EXPECT_EQ(image->check().corruptions, 0u);
  image->close();
  reference("check", {});
}

/// Most of the time is the reference's: where a sanitizer watches us, a sample is enough.
std::vector<Combination> sample() {
  const std::vector<Combination> all = test::covering_combinations();
  std::vector<Combination> some;
  for (std::size_t i = 0; i < all.size(); i += test::kIsSanitized ? 3 : 1) some.push_back(all[i]);
  return some;
}

INSTANTIATE_TEST_SUITE_P(Covering, Combinations, testing::ValuesIn(sample()));

}  // namespace
}  // namespace qcowkit
