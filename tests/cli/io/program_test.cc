// The I/O program itself: its options, its input, its exit codes.
#include "tests/cli/io/io_side_by_side.h"
#include "tests/support/tool.h"

namespace qcowkit::test {
namespace {

class IoProgram : public IoSideBySide {
 protected:
  void SetUp() override {
    IoSideBySide::SetUp();
    if (IsSkipped()) return;
    given_image("a.qcow2", "1M");
    given_file("a.raw", std::string(1 << 20, '\0'));
  }

  /// The reference shows its help on standard output; what the tool shows is in its own words.
  void expect_same_complaint(const Words& arguments) const {
    const CommandResult reference = run_in("reference", {words_of("qemu-io", arguments)});
    const CommandResult ours = run_in("ours", {words_of(file("bin/qemu-io"), arguments)});
    EXPECT_TRUE(reference.out.starts_with("Usage: qemu-io ")) << joined(arguments);
    EXPECT_TRUE(ours.out.starts_with("usage: qemu-io ")) << joined(arguments) << ours.out;
    EXPECT_EQ(without_path(ours.err), reference.err) << joined(arguments);
    EXPECT_EQ(ours.exit_code, reference.exit_code) << joined(arguments);
  }

 private:
  static Words words_of(const std::string& program, Words arguments) {
    arguments.insert(arguments.begin(), program);
    return arguments;
  }
  /// getopt says the whole path that a program was called by.
  std::string without_path(std::string text) const {
    const std::string path = file("bin/");
    for (std::size_t at; (at = text.find(path)) != text.npos;) text.erase(at, path.size());
    return text;
  }
};

TEST_F(IoProgram, CommandLinesThatMakeNoSenseAreComplainedOfAlike) {
  for (const Words& words :
       {Words{"-X"}, Words{"--nonsense"}, Words{"-c"}, Words{"-f"}, Words{"--cmd"},
        Words{"--object"}, Words{"a", "b"}, Words{"-c", "length", "a", "b"}, Words{"--version=x"},
        Words{"--c"}, Words{"--", "-c", "length"}, Words{"-rx", "a.qcow2"},
        Words{"--snapshot=on"}}) {
    expect_same_complaint(words);
  }
}

TEST_F(IoProgram, HelpAndVersionGoBeforeAllElse) {
  for (const Words& words : {Words{"--help"}, Words{"-h", "-X"}, Words{"-hX"}, Words{"-r", "-h"}}) {
    expect_same_complaint(words);
  }
  const CommandResult version = run({file("bin/qemu-io"), "-V", "-X"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_TRUE(version.out.starts_with("qemu-io version 7.2.")) << version.out;
  EXPECT_TRUE(qcow({"io", "--version"}).out.starts_with("qcow version "));
}

TEST_F(IoProgram, OptionsHaveTheSameEffect) {
  for (const Words& options : {Words{"-r"},
                               Words{"--read-only"},
                               Words{"--re"},
                               Words{"-n"},
                               Words{"--nocache"},
                               Words{"-m"},
                               Words{"--misalign"},
                               Words{"-k"},
                               Words{"-nk"},
                               Words{"--native-aio"},
                               Words{"-i", "threads"},
                               Words{"-i", "native"},
                               Words{"-n", "-i", "native"},
                               Words{"--aio=io_uring"},
                               Words{"-i", "xx"},
                               Words{"-U"},
                               Words{"-rU"},
                               Words{"-d", "xx"},
                               Words{"-t", "xx"},
                               Words{"-tnone"},
                               Words{"--cach", "none"},
                               Words{"--discard=unmap"},
                               Words{"-d", "on"},
                               Words{"--force-share"},
                               Words{"--format", "qcow2"},
                               Words{"-fqcow2"},
                               Words{"-f", "xx"},
                               Words{"-T", "nonsense"},
                               Words{"--image-opts", "-f", "qcow2"},
                               Words{"--object", "secret,id=a,data=b"},
                               Words{"--object", "x"},
                               Words{"--object", "secret"},
                               Words{"-Cr"},
                               Words{"--copy-on-read"},
                               Words{"-s", "-d", "off"}}) {
    expect_same_commands({"length", "write 0 512", "read 0 512"}, "a.qcow2", options);
    Words words = options;
    words.push_back("a.qcow2");
    expect_same_io(words, "length\nwrite 0 512\n");
  }
}

TEST_F(IoProgram, ImagesAreNamedAlike) {
  for (const Words& words :
       {Words{"no-such-file"}, Words{"-f", "qcow2", "a.raw"}, Words{"a.raw"},
        Words{"-f", "raw", "a.raw"}, Words{"-f", "raw", "a.qcow2"}, Words{"file:a.qcow2"},
        Words{"./a.qcow2"}, Words{"json:{}"},
        Words{R"(json:{"driver":"qcow2","file.filename":"a.qcow2"})"}, Words{"."},
        Words{"--image-opts", "driver=qcow2,file.filename=a.qcow2"},
        Words{"--image-opts", "a.qcow2"}, Words{"--image-opts", "file.filename=a.qcow2"},
        Words{"--image-opts", "driver=qcow2"},
        Words{"--image-opts", "driver=qcow2,file.filename=a.qcow2,x=y"}}) {
    Words options(words.begin(), words.end() - 1);
    expect_same_commands({"length", "read 0 512", "info"}, words.back(), options);
  }
}

TEST_F(IoProgram, EveryImageTellsWhatItIs) {
  given_image("old.qcow2", "1M", {"-o", "compat=0.10"});
  given_image("lazy.qcow2", "1M", {"-o", "cluster_size=4k,lazy_refcounts=on"});
  given_image("extended.qcow2", "1M", {"-o", "extended_l2=on,compression_type=zstd"});
  given_image("large.qcow2", "100T");
  given_image("empty.qcow2", "0");
  given("a.qcow", {"create", "-q", "-f", "qcow", "a.qcow", "1M"});
  for (const std::string name :
       {"old.qcow2", "lazy.qcow2", "extended.qcow2", "large.qcow2", "empty.qcow2", "a.qcow"}) {
    expect_same_commands({"info", "length", "map"}, name);
    expect_same_commands({"info", "length", "map"}, name, {"-r"});
  }
}

TEST_F(IoProgram, InputEndsWithItsLastLineOrQuit) {
  for (const std::string input :
       {"", "length", "length\n", "length\nlength\n", "\n\n  \nlength\n", "quit\nlength\n",
        "q now\nlength", "nonsense\n", "nonsense\nlength\nquit\n", "length\nnonsense\n",
        "length\r\n", "read 0 512\nclose\nread 0 512\nopen a.qcow2\nread 0 512\n"}) {
    expect_same_io({"a.qcow2"}, input);
  }
  expect_same_io({"-c", "length", "a.qcow2"}, "nonsense\n");
  expect_same_io({"-c", "quit", "-c", "nonsense", "a.qcow2"});
  expect_same_io({"-c", "nonsense", "-c", "quit", "a.qcow2"});
  expect_same_io({"-c", "", "a.qcow2"}, "nonsense\n");
}

TEST_F(IoProgram, LongLinesAreRead) {
  const std::string blanks(100000, ' ');
  const CommandResult result = qcow({"io", file("ours/a.qcow2")}, "length" + blanks + "\n");
  EXPECT_EQ(result.out, "qcow io> 1 MiB\nqcow io> ");
  EXPECT_EQ(result.exit_code, 0);
}

TEST_F(IoProgram, SignalsEndIt) {
  for (const std::string signal : {"15", "9", "64"}) {
    expect_same_commands({"write 0 64k", "sigraise " + signal, "length"}, "a.qcow2");
  }
  // What was said but not written yet is lost in a crash.
  expect_same_commands({"write 0 64k", "abort"}, "a.qcow2");
}

TEST_F(IoProgram, TimesHaveTheirForm) {
  const auto words = [](const std::string& nanoseconds, const std::string& command) {
    return Words{"io", "--image-opts", "-c", command,
                 "driver=null-co,size=1G,latency-ns=" + nanoseconds};
  };
  EXPECT_TRUE(std::regex_match(
      qcow(words("20000000", "read 0 64k")).out,
      std::regex("read 65536/65536 bytes at offset 0\n64 KiB, 1 ops; 00\\.[0-9]{2} sec "
                 "\\([0-9.]+ [KM]iB/sec and [0-9]+\\.[0-9]{4} ops/sec\\)\n")));
  EXPECT_TRUE(
      std::regex_match(qcow(words("1100000000", "read 0 1")).out,
                       std::regex("read 1/1 bytes at offset 0\n1 bytes, 1 ops; 0:00:01\\.[0-9]{2} "
                                  "\\(0\\.[0-9]{6} bytes/sec and 0\\.[0-9]{4} ops/sec\\)\n")));
  EXPECT_TRUE(std::regex_match(qcow(words("20000000", "read -C 0 64k")).out,
                               std::regex("65536,1,0:00:00\\.[0-9]{2},[0-9]+\\.[0-9]{3},"
                                          "[0-9]+\\.[0-9]{3}\n")));
}

TEST_F(IoProgram, CommandOfTheToolSaysTheToolsName) {
  EXPECT_EQ(qcow({"io", "no-such-file"}).err,
            "qcow: can't open device no-such-file: Could not open 'no-such-file': No such file or "
            "directory\n");
  const CommandResult nonsense = qcow({"io", "-X"});
  EXPECT_EQ(nonsense.exit_code, 1);
  EXPECT_NE(nonsense.err.find("Try 'qcow io --help'"), std::string::npos) << nonsense.err;
  EXPECT_EQ(qcow({"io"}, "length\n").out, "qcow io> qcow io> ");
  EXPECT_EQ(qcow({"io", "-c", "length"}).err, "no file open, try 'help open'\n");
}

TEST_F(IoProgram, OutputThatCannotBeWrittenIsAFailure) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "there is no /dev/full";
  const CommandResult result = run({"sh", "-c", "exec \"$0\" io -c length \"$1\" >/dev/full",
                                    test::tool(), file("ours/a.qcow2")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("No space left on device"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace qcowkit::test
