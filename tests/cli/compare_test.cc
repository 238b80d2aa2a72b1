// qcow compare, side by side with the reference.
#include "tests/cli/conformance.h"

namespace qcowkit::test {
namespace {

class Compare : public Conformance {
 protected:
  void expect_same_verdict(const std::string& first, const std::string& second) const {
    for (const Words& options : {Words{}, Words{"-s"}}) {
      Words words = {"compare"};
      words.insert(words.end(), options.begin(), options.end());
      words.insert(words.end(), {file(first), file(second)});
      expect_same(words);
    }
  }
};

TEST_F(Compare, VerdictsMatch) {
  create("a", "4M");
  qemu_io("a", {"write 0 128k", "write 1M 64k"});
  create("same", "4M");
  qemu_io("same", {"write 0 128k", "write 1M 64k"});
  create("other", "4M");
  qemu_io("other", {"write 0 128k", "write -P 3 1M 64k"});
  create("one_byte", "4M");
  qemu_io("one_byte", {"write 0 128k", "write -P 3 1M 64k", "write -P 4 1049000 1"});
  create("longer", "5M");
  qemu_io("longer", {"write 0 128k", "write 1M 64k"});
  create("longer_data", "5M");
  qemu_io("longer_data", {"write 0 128k", "write 1M 64k", "write -P 5 4608k 64k"});
  create("longer_zeroes", "5M");
  qemu_io("longer_zeroes", {"write 0 128k", "write 1M 64k", "write -P 0 4608k 64k"});
  create("none", "4M");
  create("data_zeroes", "4M");
  qemu_io("data_zeroes", {"write -P 0 0 64k"});
  create("zero_clusters", "4M");
  qemu_io("zero_clusters", {"write -z 0 64k"});
  qemu_img({"convert", file("a"), file("raw")});
  const std::vector<std::string> names = {
      "a",    "same",        "other",         "one_byte", "longer", "longer_data", "longer_zeroes",
      "none", "data_zeroes", "zero_clusters", "raw"};
  for (auto first = names.begin(); first != names.end(); ++first) {
    for (auto second = first; second != names.end(); ++second) {
      expect_same_verdict(*first, *second);
    }
  }
  expect_same_verdict("longer_data", "a");
  expect_same_verdict("longer_zeroes", "a");
  for (const Words& options : {Words{"-q"}, Words{"-q", "-s"}, Words{"-U", "-T", "none"}}) {
    for (const std::string& second : names) {
      Words words = {"compare"};
      words.insert(words.end(), options.begin(), options.end());
      words.insert(words.end(), {file("a"), file(second)});
      expect_same(words);
    }
  }
}

TEST_F(Compare, ProgressEndsWithALineOfItsOwn) {
  create("a", "4M");
  create("b", "4M");
  const CommandResult result = qcow({"compare", "-p", file("a"), file("b")});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_TRUE(result.out.starts_with("    (0.00/100%)\r")) << result.out;
  EXPECT_TRUE(result.out.ends_with("    (100.00/100%)\rImages are identical.\n\n")) << result.out;
  EXPECT_EQ(qcow({"compare", "-p", "-q", file("a"), file("b")}).out, "");
}

TEST_F(Compare, FormatsAndImageOptionsMatch) {
  create("a", "1M");
  write_file("raw", std::string(1 << 20, '\0'));
  expect_same({"compare", "-f", "qcow2", "-F", "raw", file("a"), file("raw")});
  expect_same({"compare", "-f", "raw", "-F", "raw", file("a"), file("raw")});
  expect_same({"compare", "--image-opts", "driver=qcow2,file.filename=" + file("a"),
               "driver=raw,file.filename=" + file("raw")});
}

TEST_F(Compare, ErrorsHaveExitCodesOfTheirOwn) {
  create("a", "1M");
  write_file("raw", std::string(1 << 20, '\0'));
  const std::string path = file("a");
  const auto expect_code = [&](Words words, int exit_code) {
    words.insert(words.begin(), "compare");
    EXPECT_EQ(qcow(words).exit_code, exit_code) << joined(words);
    expect_same(words);
  };
  expect_code({path, file("missing")}, 2);
  expect_code({file("missing"), path}, 2);
  expect_code({"-f", "nonsense", path, path}, 2);
  expect_code({"-F", "nonsense", path, path}, 2);
  expect_code({"-F", "qcow2", path, file("raw")}, 2);
  expect_code({"-T", "nonsense", path, path}, 2);
  expect_code({path}, 1);
  expect_code({path, path, path}, 1);
  expect_code({"-X", path, path}, 1);
}

}  // namespace
}  // namespace qcowkit::test
