// qcow check, side by side with the reference.
#include "tests/cli/conformance.h"

namespace qcowkit::test {
namespace {

using namespace std::string_view_literals;

class Check : public Conformance {
 protected:
  /// 64 KiB clusters: header, refcount table (0x10000), refcount block (0x20000), L1 table
  /// (0x30000), L2 table (0x40000), then data.
  void create_written(const std::string& name) const {
    create(name, "4M");
    qemu_io(name, {"write 0 128k", "write 1M 64k", "write -z 1280k 64k", "write -c 2M 64k"});
  }
  void set_refcount(const std::string& name, int cluster, std::string_view refcount) const {
    patch(name, 0x20000 + cluster * 2, refcount);
  }

  void expect_same_check(Words arguments) const {
    arguments.insert(arguments.begin(), "check");
    expect_same(arguments);
    arguments.push_back("--output=json");
    expect_same(arguments);
    arguments.push_back("-q");
    expect_same(arguments);
  }

  /// Each program repairs a copy of its own: the output is the same, and what is left is sound
  /// for the reference.
  void expect_same_repair(const std::string& name, const std::string& what) const {
    for (const std::string kind : {"human", "json"}) {
      const Words words = {"check", "-r", what, "--output=" + kind, file("copy.qcow2")};
      copy(name);
      Words reference_words = words;
      reference_words.insert(reference_words.begin(), "qemu-img");
      const CommandResult reference = run(reference_words);
      copy(name);
      const CommandResult ours = qcow(words);
      EXPECT_EQ(ours.out, reference.out) << name << " -r " << what << ours.err;
      EXPECT_EQ(ours.exit_code, reference.exit_code) << name << " -r " << what << ours.err;
      if (ours.exit_code == 0) {
        EXPECT_EQ(run({"qemu-img", "check", file("copy.qcow2")}).exit_code, 0);
      }
    }
  }

 private:
  void copy(const std::string& name) const {
    std::filesystem::copy_file(file(name), file("copy.qcow2"),
                               std::filesystem::copy_options::overwrite_existing);
  }
};

TEST_F(Check, SoundImagesMatch) {
  create("empty.qcow2", "4M");
  create("none.qcow2", "0");
  create("v2.qcow2", "4M", {"-o", "compat=0.10"});
  create_written("written.qcow2");
  create("small.qcow2", "4M", {"-o", "cluster_size=512,refcount_bits=64"});
  qemu_io("small.qcow2", {"write 0 1M", "write -c 2M 64k"});
  create("subclusters.qcow2", "4M", {"-o", "extended_l2=on"});
  qemu_io("subclusters.qcow2", {"write 4k 4k", "write 1M 128k"});
  for (const std::string name : {"empty.qcow2", "none.qcow2", "v2.qcow2", "written.qcow2",
                                 "small.qcow2", "subclusters.qcow2"}) {
    expect_same_check({file(name)});
    expect_same_check({"-U", "-T", "none", "-f", "qcow2", file(name)});
    expect_same_repair(name, "leaks");
    expect_same_repair(name, "all");
  }
}

TEST_F(Check, ImageWithSnapshotsAndBitmapsMatches) {
  create_written("a.qcow2");
  qemu_img({"snapshot", "-c", "s", file("a.qcow2")});
  qemu_img({"bitmap", "--add", file("a.qcow2"), "b"});
  qemu_io("a.qcow2", {"write 0 64k"});
  expect_same_check({file("a.qcow2")});
}

TEST_F(Check, LeakedClustersMatch) {
  create_written("a.qcow2");
  patch("a.qcow2", 0x30000, "\0\0\0\0\0\0\0\0"sv);  // nothing points at the L2 table any more
  expect_same_check({file("a.qcow2")});
  EXPECT_EQ(qcow({"check", file("a.qcow2")}).exit_code, 3);
  expect_same_repair("a.qcow2", "leaks");
  expect_same_repair("a.qcow2", "all");
}

TEST_F(Check, TooHighRefcountMatches) {
  create_written("a.qcow2");
  set_refcount("a.qcow2", 6, "\0\2"sv);
  expect_same_check({file("a.qcow2")});
  expect_same_repair("a.qcow2", "leaks");
  expect_same_repair("a.qcow2", "all");
}

TEST_F(Check, MissingRefcountMatches) {
  create_written("a.qcow2");
  set_refcount("a.qcow2", 5, "\0\0"sv);
  expect_same_check({file("a.qcow2")});
  EXPECT_EQ(qcow({"check", file("a.qcow2")}).exit_code, 2);
  // The reference gives up here, with 1.
  EXPECT_EQ(qcow({"check", "-r", "leaks", file("a.qcow2")}).exit_code, 2);
}

TEST_F(Check, DirtyImageMatches) {
  create("a.qcow2", "10M", {"-o", "lazy_refcounts=on"});
  run({"qemu-io", "-c", "write 0 64k", "-c", "abort", file("a.qcow2")});
  expect_same_check({file("a.qcow2")});
}

TEST_F(Check, TruncatedImageMatches) {
  create_written("a.qcow2");
  std::filesystem::resize_file(file("a.qcow2"), 300 * 1024);
  expect_same_check({file("a.qcow2")});
}

TEST_F(Check, RepairedCorruptionLeavesASoundImage) {
  create_written("a.qcow2");
  set_refcount("a.qcow2", 5, "\0\0"sv);
  const CommandResult result = qcow({"check", "-r", "all", file("a.qcow2")});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("The following inconsistencies were found and repaired:"),
            std::string::npos);
  EXPECT_NE(result.out.find("Double checking the fixed image now...\nNo errors were found"),
            std::string::npos);
  EXPECT_EQ(run({"qemu-img", "check", file("a.qcow2")}).exit_code, 0);
}

TEST_F(Check, FindingsGoToStandardError) {
  create_written("a.qcow2");
  set_refcount("a.qcow2", 5, "\0\0"sv);
  const CommandResult result = qcow({"check", "-q", file("a.qcow2")});
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.err.find("ERROR cluster 5 refcount=0 reference=1\n"), std::string::npos)
      << result.err;
}

TEST_F(Check, FormatWithoutChecksHasItsOwnExitCode) {
  write_file("a.raw", std::string(4096, 'x'));
  expect_same_check({file("a.raw")});
  EXPECT_EQ(qcow({"check", file("a.raw")}).exit_code, 63);
  create("a.qcow2", "1M");
  expect_same_check({"-f", "raw", file("a.qcow2")});
}

TEST_F(Check, BadArgumentsAreRefused) {
  create("a.qcow2", "1M");
  create("broken.qcow2", "1M", {"-u", "-b", "none", "-F", "raw"});
  const std::string path = file("a.qcow2");
  for (const Words& arguments :
       {Words{}, Words{path, path}, Words{file("none")}, Words{"-r", "nonsense", path},
        Words{"-r", "all", "-U", path}, Words{"-T", "nonsense", path}, Words{"-p", path},
        Words{"-f", "nonsense", path}, Words{"--output=xml", path}, Words{file("broken.qcow2")}}) {
    Words words = {"check"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    EXPECT_EQ(qcow(words).exit_code, 1) << joined(words);
    expect_same(words);
  }
}

}  // namespace
}  // namespace qcowkit::test
