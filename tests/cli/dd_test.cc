// qcow dd, side by side with the reference.
#include <sys/stat.h>

#include "tests/cli/side_by_side.h"
#include "tests/support/tool.h"

namespace qcowkit::test {
namespace {

class Dd : public SideBySide {
 protected:
  void SetUp() override {
    SideBySide::SetUp();
    if (IsSkipped()) return;
    given_file("in.raw", content());
    given("in.qcow2", {"convert", "-f", "raw", "-O", "qcow2", "in.raw", "in.qcow2"});
  }
  static std::string content() {
    std::string bytes(300 * 1024, '\0');
    for (std::size_t i = 64 * 1024; i < 200 * 1024; ++i) {
      bytes[i] = static_cast<char>('a' + i / 512 % 23);
    }
    return bytes;
  }
  void expect_copied(Words words) const {
    words.insert(words.begin(), "dd");
    for (const std::string directory : {"ours", "reference"}) {
      std::filesystem::remove(file(directory + "/out"));
    }
    expect_same_words(words);
    EXPECT_TRUE(read_file("ours/out") == read_file("reference/out")) << joined(words);
    EXPECT_EQ(allocated("ours/out"), allocated("reference/out")) << joined(words);
  }
  /// Host space in units of the file system's blocks, as nobody is exact to the byte.
  std::int64_t allocated(const std::string& name) const {
    struct stat status {};
    EXPECT_EQ(::stat(file(name).c_str(), &status), 0) << name;
    return status.st_blocks / 8;
  }
  void expect_refused(Words words) const {
    words.insert(words.begin(), "dd");
    expect_same_failure(words);
  }
};

TEST_F(Dd, PartIsCopiedAndNothingIsLeftOut) {
  for (const Words& words : {Words{},
                             Words{"bs=1k"},
                             Words{"bs=64k"},
                             Words{"bs=1M"},
                             Words{"bs=4096", "count=3"},
                             Words{"bs=4096", "count=30"},
                             Words{"bs=4096", "count=300"},
                             Words{"skip=128"},
                             Words{"bs=1000", "skip=77"},

                             Words{"bs=100", "count=3"},
                             Words{"bs=100", "skip=1"},
                             Words{"count=0"},
                             Words{"bs=1k", "skip=300"},
                             Words{"bs=1k", "skip=301"},
                             Words{"bs=1k", "skip=300000"},
                             Words{"bs=1.5k", "count=1"},
                             Words{"bs=0x10", "count=1"},
                             Words{"bs= 1", "count=1"},
                             Words{"bs=+1", "count=1"},
                             Words{"bs=1b", "count=2k"},
                             Words{"bs=1B", "count=2k"},
                             Words{"bs=2147483647", "count=7E"},
                             Words{"bs=1k", "bs=2k", "count=1"}}) {
    Words all = words;
    all.insert(all.end(), {"if=in.raw", "of=out"});
    expect_copied(all);
    all = words;
    all.insert(all.begin(), {"-f", "qcow2", "-U"});
    all.insert(all.end(), {"of=out", "if=in.qcow2"});
    expect_copied(all);
  }
}

TEST_F(Dd, OutputMayBeAnImage) {
  for (const Words& words :
       {Words{"-O", "qcow2"}, Words{"-O", "qcow"}, Words{"-O", "qcow2", "bs=1k", "skip=3"}}) {
    Words all = words;
    all.insert(all.begin(), "dd");
    all.insert(all.end(), {"if=in.raw", "of=out"});
    expect_same_success(all);
    expect_same_image("out");
    expect_same_content("out");
    const auto map = [&](const std::string& directory) {
      return run_in(directory, {"qemu-img", "map", "--output=json", "out"}).out;
    };
    EXPECT_EQ(map("ours"), map("reference")) << joined(words);
  }
}

TEST_F(Dd, ListOfOptionsNamesTheInput) {
  expect_copied({"--image-opts", "if=driver=qcow2,file.filename=in.qcow2", "of=out"});
}

TEST_F(Dd, OldOutputIsReplaced) {
  expect_copied({"if=in.raw", "of=out"});
  Words words = {"dd", "if=in.raw", "of=out", "bs=1k", "count=2"};
  expect_same_success(words);
  EXPECT_TRUE(read_file("ours/out") == read_file("reference/out"));
}

TEST_F(Dd, BlocksAreCountedFromTheFirstThatIsNotSkipped) {
  // The reference counts those that are skipped, too.
  const CommandResult result =
      run_in("ours", {test::tool(), "dd", "bs=1k", "skip=70", "count=11", "if=in.raw", "of=out"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(read_file("ours/out") == content().substr(70 << 10, 11 << 10));
}

TEST_F(Dd, BadArgumentsAreRefused) {
  for (const Words& words :
       {Words{},
        Words{"if=in.raw"},
        Words{"of=out"},
        Words{"if=in.raw", "of=out", "bs=0"},
        Words{"if=in.raw", "of=out", "bs=x"},
        Words{"if=in.raw", "of=out", "bs=-1"},
        Words{"if=in.raw", "of=out", "bs=3G"},
        Words{"if=in.raw", "of=out", "bs=2147483648"},
        Words{"if=in.raw", "of=out", "bs="},
        Words{"if=in.raw", "of=out", "bs=1 "},
        Words{"if=in.raw", "of=out", "bs=1kB"},
        Words{"if=in.raw", "of=out", "bs=2x3"},
        Words{"if=in.raw", "of=out", "foo=1"},
        Words{"if=in.raw", "of=out", "foo"},
        Words{"if=in.raw", "of=out", "bs"},
        Words{"if", "of=out"},
        Words{"=1"},
        Words{"if=in.raw", "of=out", "count=x"},
        Words{"if=in.raw", "of=out", "count=-1"},
        Words{"if=in.raw", "of=out", "count=9E"},
        Words{"if=in.raw", "of=out", "skip=z"},
        Words{"if=in.raw", "of=out", "seek=1"},
        Words{"if=in.raw", "of=out", "conv=sync"},
        Words{"if=none", "of=out"},
        Words{"if=", "of=out"},
        Words{"bs=x"},
        Words{"-O", "nonsense", "if=in.raw", "of=out"},

        Words{"-O", "nonsense", "if=none", "of=out"},
        Words{"-O", "nonsense", "bs=x"},
        Words{"-f", "nonsense", "if=in.raw", "of=out"},
        Words{"-f", "qcow2", "if=in.raw", "of=out"},
        Words{"--image-opts", "-f", "raw", "if=driver=raw,file.filename=in.raw", "of=out"},
        Words{"-p", "if=in.raw", "of=out"},
        Words{"if=in.raw", "of=none/out"},
        Words{"-n", "if=in.raw", "of=out"},
        Words{"--object", "secret,id=x", "if=in.raw", "of=out"}}) {
    expect_refused(words);
  }
}

}  // namespace
}  // namespace qcowkit::test
