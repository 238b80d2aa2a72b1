// A real file system inside: to every kind of image and back with the tool, and not a bit changed.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/command.h"
#include "tests/support/content.h"
#include "tests/support/reference_tools.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tool.h"

namespace qcowkit {
namespace {

namespace fs = std::filesystem;
using test::CommandResult;

/// Where distributions keep the tools of the super-user, which PATH may not hold.
std::string system_tool(const std::string& name) {
  const std::string path = "/usr/sbin/" + name;
  return fs::exists(path) ? path : name;
}

/// This project's sources, and large files, for more than one block group.
void make_tree(const fs::path& tree) {
  const fs::path sources = fs::path(__FILE__).parent_path().parent_path();
  fs::copy(sources, tree, fs::copy_options::recursive);
  for (std::uint64_t i = 0; i < 6; ++i) {
    const std::string path = tree / ("large-" + std::to_string(i));
    test::write_file(path, test::make_content(i + 1, (3 << 20) + i * 1000));
  }
  fs::create_symlink("large-0", tree / "link");
}

class FileSystem : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new test::TempDir;
    make_tree(dir_->path() / "tree");
    const CommandResult made =
        test::run({system_tool("mke2fs"), "-q", "-t", "ext4", "-E", "lazy_itable_init=0", "-d",
                   dir_->file("tree"), dir_->file("disk.raw"), "64M"});
    ASSERT_TRUE(made.ok()) << made.err;
    content_ = new std::vector(test::read_file(dir_->file("disk.raw")));
  }
  static void TearDownTestSuite() {
    delete content_;
    delete dir_;
    content_ = nullptr;
    dir_ = nullptr;
  }

  static void tool(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), test::tool());
    const CommandResult result = test::run(arguments);
    ASSERT_TRUE(result.ok()) << result.err;
  }

  void round_trip(const std::vector<std::string>& options) {
    const std::string raw = dir_->file("disk.raw");
    const std::string image = dir_->file("disk.qcow2");
    const std::string back = dir_->file("back.raw");
    std::vector<std::string> convert = {"convert", "-f", "raw", "-O", "qcow2", "-t", "unsafe"};
    convert.insert(convert.end(), options.begin(), options.end());
    convert.insert(convert.end(), {raw, image});
    tool(convert);
    tool({"check", "-q", image});
    const auto wrong = test::ask_reference(image, *content_);
    EXPECT_FALSE(wrong) << *wrong;
    tool({"convert", "-f", "qcow2", "-O", "raw", "-t", "unsafe", image, back});
    EXPECT_TRUE(test::read_file(back) == *content_);
    const CommandResult checked = test::run({system_tool("e2fsck"), "-fn", back});
    EXPECT_TRUE(checked.ok()) << checked.out << checked.err;
  }

  static test::TempDir* dir_;
  static std::vector<std::byte>* content_;
};
test::TempDir* FileSystem::dir_ = nullptr;
std::vector<std::byte>* FileSystem::content_ = nullptr;

TEST_F(FileSystem, SurvivesAPlainImage) { round_trip({}); }
TEST_F(FileSystem, SurvivesClustersOf4K) { round_trip({"-o", "cluster_size=4k"}); }
TEST_F(FileSystem, SurvivesSubclusters) { round_trip({"-o", "extended_l2=on"}); }
TEST_F(FileSystem, SurvivesVersion2) { round_trip({"-o", "compat=0.10"}); }
TEST_F(FileSystem, SurvivesDeflate) { round_trip({"-c"}); }
TEST_F(FileSystem, SurvivesZstd) { round_trip({"-c", "-o", "compression_type=zstd"}); }
TEST_F(FileSystem, SurvivesCompressedClustersOf4K) {
  round_trip({"-c", "-o", "compression_type=zstd,cluster_size=4k"});
}

}  // namespace
}  // namespace qcowkit
