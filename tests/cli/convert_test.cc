// qcow convert, side by side with the reference.
#include <chrono>

#include "tests/cli/conformance.h"

namespace qcowkit::test {
namespace {

class Convert : public Conformance {
 protected:
  void SetUp() override {
    Conformance::SetUp();
    if (IsSkipped()) return;
    create("base", "4M");
    qemu_io("base", {"write -P 1 0 1M", "write -P 2 3M 100k"});
    create("top", "4M", {"-b", "base", "-F", "qcow2"});
    qemu_io("top", {"write -P 3 64k 64k", "write -z 512k 128k", "write -P 4 2M 4k"});
    write_file("odd.raw", std::string(700, 'x'));
  }

  /// The tool makes of it an image that is sound and reads as what the reference makes of it.
  void expect_same_result(Words arguments, const std::string& format = "") const {
    Words ours = {"convert"};
    ours.insert(ours.end(), arguments.begin(), arguments.end());
    Words reference = ours;
    ours.push_back(file("ours"));
    reference.push_back(file("reference"));
    qemu_img(reference);
    const CommandResult result = qcow(ours);
    EXPECT_EQ(result.exit_code, 0) << joined(ours) << result.err;
    EXPECT_EQ(result.out, "");
    Words compare = {"compare", file("reference"), file("ours")};
    if (!format.empty()) compare.insert(compare.begin() + 1, {"-f", format, "-F", format});
    qemu_img(compare);
    EXPECT_EQ(virtual_size("ours"), virtual_size("reference")) << joined(ours);
    if (format == "qcow2") qemu_img({"check", "-f", "qcow2", file("ours")});
  }

  void expect_same_failure(Words arguments) const {
    arguments.insert(arguments.begin(), "convert");
    EXPECT_EQ(qcow(arguments).exit_code, 1) << joined(arguments);
    expect_same(arguments);
  }

  std::string info(const std::string& name) const {
    return run({"qemu-img", "info", file(name)}).out;
  }

 private:
  std::string virtual_size(const std::string& name) const {
    const std::string text = info(name);
    const std::size_t begin = text.find("virtual size:");
    return text.substr(begin, text.find('\n', begin) - begin);
  }
};

TEST_F(Convert, FormatsMatch) {
  expect_same_result({file("top")}, "raw");
  expect_same_result({"-O", "raw", "-f", "qcow2", file("top")}, "raw");
  expect_same_result({"-O", "qcow2", file("top")}, "qcow2");
  expect_same_result({"-Oqcow2", file("odd.raw")}, "qcow2");
  expect_same_result({file("odd.raw")}, "raw");
  EXPECT_EQ(read_file("ours"), read_file("reference"));
}

TEST_F(Convert, CompressionMatches) {
  expect_same_result({"-c", "-O", "qcow2", file("top")}, "qcow2");
  expect_same_result({"-cO", "qcow2", "-o", "compression_type=zstd", file("top")}, "qcow2");
  expect_same_result({"-c", "-W", "-m", "2", "-O", "qcow2", "-o", "cluster_size=4k", file("top")},
                     "qcow2");
  EXPECT_NE(run({"qemu-img", "check", file("ours")}).out.find("100.00% compressed clusters"),
            std::string::npos);
}

TEST_F(Convert, CompressionLevelsAreAccepted) {
  for (const std::string list : {"compression_level=1", "compression_level=9",
                                 "compression_type=zstd,compression_level=19"}) {
    const CommandResult result =
        qcow({"convert", "-c", "-O", "qcow2", "-o", list, file("top"), file("ours")});
    EXPECT_EQ(result.exit_code, 0) << list << result.err;
    qemu_img({"compare", file("top"), file("ours")});
  }
  for (const std::string list : {"compression_level=0", "compression_level=23",
                                 "compression_level=10", "compression_level=x"}) {
    const CommandResult result =
        qcow({"convert", "-c", "-O", "qcow2", "-o", list, file("top"), file("ours")});
    EXPECT_EQ(result.exit_code, 1) << list;
  }
  EXPECT_EQ(qcow({"convert", "-O", "qcow2", "-o", "compression_level=1", file("top"), file("ours")})
                .exit_code,
            1);
}

TEST_F(Convert, TargetOptionsMatch) {
  for (const std::string list :
       {"cluster_size=4k", "compat=0.10", "extended_l2=on", "preallocation=metadata",
        "preallocation=full", "refcount_bits=1,lazy_refcounts=on", "size=1M"}) {
    expect_same_result({"-O", "qcow2", "-o", list, file("top")}, "qcow2");
  }
  expect_same_result({"-o", "preallocation=full", file("top")}, "raw");
}

TEST_F(Convert, HowToCopyDoesNotChangeTheResult) {
  for (const Words& options :
       {Words{"-S", "0"}, Words{"-S", "512"}, Words{"-S", "1M"}, Words{"-C"}, Words{"-W"},
        Words{"-m", "1"}, Words{"-m", "16"}, Words{"-r", "100M"}, Words{"-r", "0"},
        Words{"-t", "none", "-T", "none"}, Words{"-t", "writethrough"}, Words{"-q"},
        Words{"-p", "-q"}, Words{"-U"}}) {
    Words words = options;
    words.push_back(file("top"));
    expect_same_result(words, "raw");
    words.insert(words.begin(), {"-O", "qcow2"});
    expect_same_result(words, "qcow2");
  }
}

TEST_F(Convert, WithoutSparsenessEverythingIsAllocated) {
  ASSERT_TRUE(qcow({"convert", "-S", "0", file("top"), file("ours")}).ok());
  EXPECT_EQ(qcow({"map", "--output=json", "-f", "raw", file("ours")}).out,
            "[{ \"start\": 0, \"length\": 4194304, \"depth\": 0, \"present\": true, \"zero\": "
            "false, \"data\": true, \"compressed\": false, \"offset\": 0}]\n");
}

TEST_F(Convert, SeveralSourcesLieOneBehindTheOther) {
  expect_same_result({file("top"), file("base"), file("odd.raw")}, "raw");
  expect_same_result({file("odd.raw"), file("top")}, "raw");
  EXPECT_EQ(read_file("ours"), read_file("reference"));
  expect_same_result({"-O", "qcow2", file("top"), file("odd.raw")}, "qcow2");
}

TEST_F(Convert, BackingFileHoldsWhatIsShared) {
  expect_same_result({"-O", "qcow2", "-B", "base", "-F", "qcow2", file("top")}, "qcow2");
  EXPECT_EQ(info("ours").find("backing file: base (actual path: " + file("base") + ")\n") ==
                std::string::npos,
            false)
      << info("ours");
  const auto map = [&](const std::string& name) {
    return run({"qemu-img", "map", "--output=json", file(name)}).out;
  };
  EXPECT_EQ(map("ours"), map("reference"));
  expect_same_result({"-O", "qcow2", "-o", "backing_fmt=qcow2,backing_file=base", file("top")},
                     "qcow2");
  EXPECT_EQ(map("ours"), map("reference"));
}

// The reference loses what the images between the two hold.
TEST_F(Convert, BackingFileDeeperInTheChainLosesNothing) {
  create("third", "4M", {"-b", "top", "-F", "qcow2"});
  qemu_io("third", {"write -P 9 3M 64k"});
  ASSERT_TRUE(
      qcow({"convert", "-O", "qcow2", "-B", "base", "-F", "qcow2", file("third"), file("ours")})
          .ok());
  qemu_img({"compare", file("third"), file("ours")});
}

TEST_F(Convert, BackingFileOfASourceWithoutOneIsHidden) {
  create("alone", "4M");
  qemu_io("alone", {"write -P 9 3M 64k"});
  expect_same_result({"-O", "qcow2", "-B", "base", "-F", "qcow2", file("alone")}, "qcow2");
}

TEST_F(Convert, ExistingTargetIsWrittenOver) {
  const auto fill = [&](const std::string& format, const Words& options = {}) {
    for (const std::string name : {"ours", "reference"}) {
      Words words = {"create", "-q", "-f", format};
      words.insert(words.end(), options.begin(), options.end());
      words.insert(words.end(), {file(name), "5M"});
      qemu_img(words);
      run({"qemu-io", "-f", format, "-c", "write -P 8 0 5M", file(name)});
    }
  };
  fill("raw");
  expect_same_result({"-n", file("top")}, "raw");
  fill("qcow2");
  expect_same_result({"-n", "-O", "qcow2", file("top")}, "qcow2");
  fill("qcow2", {"-b", "base", "-F", "qcow2"});
  expect_same_result({"-n", "-O", "qcow2", file("top")}, "qcow2");
  fill("raw");
  ASSERT_TRUE(qcow({"convert", "-n", "--target-image-opts", file("top"),
                    "driver=raw,file.filename=" + file("ours")})
                  .ok());
  EXPECT_EQ(read_file("ours").substr(0, 4096), std::string(4096, '\1'));
}

TEST_F(Convert, ZeroTargetIsNotZeroedAgain) {
  write_file("ours", "");
  std::filesystem::resize_file(file("ours"), 4 << 20);
  ASSERT_TRUE(qcow({"convert", "-n", "--target-is-zero", file("top"), file("ours")}).ok());
  qemu_img({"compare", "-F", "raw", file("top"), file("ours")});
}

TEST_F(Convert, ProgressIsShownOnOneLine) {
  const CommandResult result = qcow({"convert", "-p", file("top"), file("ours")});
  EXPECT_TRUE(result.out.starts_with("    (0.00/100%)\r")) << result.out;
  EXPECT_TRUE(result.out.ends_with("    (100.00/100%)\r\n")) << result.out;
}

TEST_F(Convert, BadArgumentsAreRefused) {
  const std::string in = file("top");
  const std::string out = file("out");
  write_file("small.raw", "x");
  for (const Words& arguments :
       std::vector<Words>{{},
                          {in},
                          {"-O", "nonsense", in, out},
                          {"-f", "nonsense", in, out},
                          {file("missing"), out},
                          {in, file("missing"), out},
                          {in, file("no/such/directory")},
                          {"-O", "qcow2", in, file("no/such/directory")},
                          {"-c", in, out},
                          {"-c", "-C", "-O", "qcow2", in, out},
                          {"-C", "-S", "4k", in, out},
                          {"-n", in, file("missing")},
                          {"-n", in, file("small.raw")},
                          {"-n", "-O", "qcow2", in, file("small.raw")},
                          {"-n", "-O", "qcow2", "-o", "cluster_size=64k", in, out},
                          {"--target-is-zero", in, out},
                          {"--target-image-opts", in, "driver=raw,file.filename=" + out},
                          {"--image-opts", "-f", "qcow2", "driver=qcow2,file.filename=" + in, out},
                          {"-B", "base", "-O", "qcow2", in, out},
                          {"-F", "qcow2", "-O", "qcow2", in, out},
                          {"-B", "base", "-F", "qcow2", in, out},
                          {"-B", "base", "-F", "qcow2", "-O", "qcow2", in, in, out},
                          {"-B", "missing", "-F", "qcow2", "-O", "qcow2", in, out},
                          {"-B", "base", "-F", "nonsense", "-O", "qcow2", in, out},
                          {"-O", "qcow2", "-o", "foo=x", in, out},
                          {"-O", "qcow2", "-o", "cluster_size=3", in, out},
                          {"-O", "qcow2", "-o", "", in, out},
                          {"-c", "-O", "qcow2", "-o", "preallocation=metadata", in, out},
                          {"-c", "-O", "qcow2", "-o", "data_file=" + file("data"), in, out},
                          {"-S", "1", in, out},
                          {"-S", "x", in, out},
                          {"-S", "-1", in, out},
                          {"-S", "32M", in, out},
                          {"-m", "0", in, out},
                          {"-m", "17", in, out},
                          {"-m", "x", in, out},
                          {"-r", "x", in, out},
                          {"-t", "nonsense", in, out},
                          {"-T", "nonsense", in, out},
                          {in, in},
                          {"-O", "qcow2", in, directory_.path().string() + "/./top"},
                          {"-e", in, out},
                          {"--target", in, out},
                          {"--image-opts=x", in, out}}) {
    expect_same_failure(arguments);
  }
}

TEST_F(Convert, RateLimitHoldsTheCopyBack) {
  write_file("data.raw", std::string(2 << 20, 'x'));
  std::filesystem::resize_file(file("data.raw"), std::uintmax_t{1} << 30);  // holes cost nothing
  const auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(qcow({"convert", "-r", "4M", file("data.raw"), file("ours")}).ok());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_GE(seconds.count(), 0.5);
  EXPECT_LT(seconds.count(), 20);
  qemu_img({"compare", "-f", "raw", "-F", "raw", file("data.raw"), file("ours")});
}

}  // namespace
}  // namespace qcowkit::test
