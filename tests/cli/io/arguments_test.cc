// The words of the I/O program's commands: options, numbers, patterns, and what is wrong with them.
#include "tests/cli/io/io_side_by_side.h"

namespace qcowkit::test {
namespace {

const Words kRequests = {"read",     "read -b",  "read -q",  "read -C",   "read -P 1", "readv",
                         "readv -v", "write",    "write -z", "write -zu", "write -zn", "write -c",
                         "write -b", "write -f", "write -C", "writev",    "writev -C", "discard",
                         "r",        "w",        "d -C"};

class IoArguments : public IoSideBySide {
 protected:
  void SetUp() override {
    IoSideBySide::SetUp();
    if (IsSkipped()) return;
    given_image("a.qcow2", "1M");
    given_writes("a.qcow2", {"write -P 1 0 64k", "write -P 2 64k 1k"});
    given_file("short", "abc");
    given_file("long", std::string(100000, 'x'));
    given_file("empty", "");
  }
};

TEST_F(IoArguments, RangesAreReadAlike) {
  const Words ranges = {"0 512",
                        "0",
                        "",
                        "0 1 2",
                        "x 1",
                        "0 x",
                        "0 -1",
                        "-1 0",
                        "-- -1 0",
                        "0 -- -1",
                        "1M 1",
                        "1M 0",
                        "2M 0",
                        "1000k 64k",
                        "100 100",
                        "512 512",
                        "0 3G",
                        "0 2147483137",
                        "0 8E",
                        "9E 1",
                        "99999999999999999999 1",
                        "1 -- -99999999999999999999"};
  // As much as one request may move; only of those that need no buffer, which would be large.
  expect_same_commands({"discard 0 2147483136", "write -z 0 2147483136"}, "a.qcow2");
  for (const std::string& request : kRequests) expect_same_for_all(request, ranges, "a.qcow2");
  for (const std::string request : {"aio_read", "aio_write", "aio_write -z", "aio_read -P 2"}) {
    expect_same_for_all(request, ranges, "a.qcow2", "aio_flush");
  }
}

TEST_F(IoArguments, NumbersAreSpeltAlike) {
  const Words numbers = {"0x200 0x200", "0X10 0x1k", "010 010", "0 1.5k",   "0 1.1",    "0 .5k",
                         "0 1kk",       "0 1s",      "0 0x1b",  "0 1b",     "+1 +1",    "0 1e3",
                         "0 1K",        "1e1 1",     "0 0x",    "0x1.8k 1", "0 1024.0", "1,5 2",
                         "0 1kib",      "0 1MB",     "' 0' 1",  "0 0x1M",   "0 0x1E",   "0 1P"};
  for (const std::string command : {"read", "alloc", "write", "readv", "discard"}) {
    expect_same_for_all(command, numbers, "a.qcow2");
  }
  expect_same_for_all("truncate",
                      {"1.5M", "0x100000", "1x", "x", "8E", "1000", "1M -m off", "-m", "-m x 1M",
                       "-X 1M", "-moff 1M", "1M 2M"},
                      "a.qcow2");
}

TEST_F(IoArguments, PatternsAreReadAlike) {
  Words patterns;
  for (const std::string byte : {"0", "1", "0xff", "0xFF", "255", "256", "0x100", "-1", "08", "010",
                                 "+5", "1x", "xx", "''", "0x"}) {
    patterns.push_back("-P " + byte + " 0 512");
    patterns.push_back("-qP" + byte + " 512 512");
  }
  for (const std::string command : {"read", "readv", "write", "writev"}) {
    expect_same_for_all(command, patterns, "a.qcow2");
    expect_same_image("a.qcow2");
    expect_same_content("a.qcow2");
  }
}

TEST_F(IoArguments, VerifiedPartsAreReadAlike) {
  expect_same_for_all("read",
                      {"-s 1 0 512",
                       "-l 1 0 512",
                       "-l 1 -s 1 0 x",
                       "-P 1 -s 1 0 512",
                       "-P 1 -l 511 -s 1 0 512",
                       "-P 1 -l 512 -s 1 0 512",
                       "-P 1 -s 512 0 512",
                       "-P 1 -s 513 0 512",
                       "-P 1 -l 5G 0 512",
                       "-P 1 -l 0 0 512",
                       "-P 1 -s x 0 1",
                       "-s x -P x 0 512",
                       "-P 1 -s 65530 0 66k",
                       "-P 2 -s 64k -l 1k 0 66k",
                       "-P 2 -s 64k -l 1k 512 66k",
                       "-P 2 -s 65024 -l 1k 512 66k",
                       "-P 2 4k 4k",
                       "-bP 0 -s 1 0 512",
                       "-bP 0 -s 5k 100 100",
                       "-b -s 1 100 100"},
                      "a.qcow2");
}

TEST_F(IoArguments, OptionsAreReadAlike) {
  Words options;
  for (const std::string option : {"-P",
                                   "-Ps",
                                   "-a",
                                   "-abCqv",
                                   "-v -P 1 -C",
                                   "-X -P xx",
                                   "-P xx -X",
                                   "--",
                                   "--foo",
                                   "---",
                                   "-:",
                                   "-bz",
                                   "-bzf",
                                   "-bzn",
                                   "-fbn",
                                   "-fcn",
                                   "-nu",
                                   "-n",
                                   "-u",
                                   "-nP1",
                                   "-z -P 1",
                                   "-zs a",
                                   "-P1 -sa",
                                   "-zf",
                                   "-zc",
                                   "-bc",
                                   "-znuf",
                                   "-Cq",
                                   "-qqq",
                                   "-i",
                                   "-p",
                                   "-pp",
                                   "-f",
                                   "-fC",
                                   "-k",
                                   "-zu",
                                   "-vq",
                                   "-vC",
                                   "-s short",
                                   "-s empty",
                                   "-s no-such-file",
                                   "-s .",
                                   "-s long",
                                   "-cs long"}) {
    for (const std::string range : {" 0 512", " 0 x", " 0 3G", " 100 100", " 0"}) {
      options.push_back(option + range);
    }
  }
  for (const std::string command : {"read", "readv", "write", "writev", "discard", "reopen", "open",
                                    "length", "alloc", "map", "flush"}) {
    expect_same_for_all(command, options, "a.qcow2");
  }
  for (const std::string command : {"aio_read", "aio_write"}) {
    expect_same_for_all(command, options, "a.qcow2", "aio_flush");
  }
  expect_same_content("a.qcow2");
}

TEST_F(IoArguments, OptionsMayStandBehindTheRange) {
  expect_same_commands({"read 0 -q 64k", "read 0 64k -v -P", "write 0 512 -P 7", "read 0 512 -P 7",
                        "readv 0 512 -v 512 -q", "write 0 -- -P 7", "discard 0 512 -C"},
                       "a.qcow2");
}

const Words kLines = {"write",
                      "read 0",
                      "truncate",
                      "truncate x",
                      "discard",
                      "writev x",
                      "aio_write",
                      "aio_write -i 0 1",
                      "aio_write -i",
                      "aio_read -i x x",
                      "aio_write -zi 0 1 1",
                      "length 1",
                      "map 1",
                      "info 1",
                      "help x y",
                      "open",
                      "sleep",
                      "sleep x",
                      "sleep -1",
                      "sleep 1k",
                      "sleep 0x1",
                      "sleep 1x",
                      "sleep ''",
                      "alloc",
                      "alloc 0 1 2",
                      "alloc 1G",
                      "alloc 0 1G",
                      "alloc -1",
                      "alloc 9E",
                      "alloc 1M",
                      "alloc 1048575 5",
                      "break",
                      "break a b c",
                      "break x y",
                      "resume x",
                      "resume",
                      "remove_break",
                      "remove_break x",
                      "wait_break",
                      "wait_break x y",
                      "sigraise",
                      "sigraise x",
                      "sigraise 999",
                      "sigraise 66",
                      "sigraise 65",
                      "sigraise 0",
                      "sigraise -1",
                      "flush x",
                      "abort x",
                      "aio_flush x",
                      "close 1",
                      "nonsense",
                      "READ 0 1",
                      "exit",
                      "-c",
                      "# length",
                      "\tlength",
                      "length\t",
                      " length ",
                      "",
                      "   ",
                      "help nonsense",
                      "help help",
                      "help quit",
                      "help r",
                      "help map",
                      "l",
                      "i",
                      "f",
                      "a 0",
                      "t 1M",
                      "b",
                      "h",
                      "s",
                      "rd",
                      "?",
                      "help"};

TEST_F(IoArguments, LinesThatMakeNoSenseAreAnsweredAlike) {
  // Explanations of a command are in the program's own words.
  Words lines = kLines;
  std::erase(lines, "help r");
  expect_same_commands(lines, "a.qcow2");
  expect_same_commands(lines, "a.qcow2", {"-r"});
  expect_same_commands(lines, "");
  for (const std::string& line : lines) {
    if (line.find("sense") != line.npos || line.ends_with(' ')) expect_same_commands({line}, "");
  }
}

TEST_F(IoArguments, LinesOfInputAreAnsweredAsThoseOfOptions) {
  std::string input;
  for (const std::string& line : kLines) {
    if (line != "help r") input += line + '\n';
  }
  expect_same_io({"a.qcow2"}, input);
  expect_same_io({"-r", "a.qcow2"}, input);
  expect_same_io({}, input);
}

TEST_F(IoArguments, HelpExplainsEveryCommand) {
  const CommandResult list = qcow({"io", "-c", "help"});
  std::istringstream lines(list.out);
  int commands = 0;
  for (std::string line; std::getline(lines, line) && !line.empty(); ++commands) {
    const std::string name = line.substr(0, line.find(' '));
    const CommandResult help = qcow({"io", "-c", "help " + name});
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_TRUE(help.out.starts_with(line + "\n")) << help.out;
    if (line.find(" -- ") > name.size() + 1 && line.find("[-") != line.npos && name != "truncate") {
      EXPECT_NE(help.out.find("\n Example:\n '" + name), help.out.npos) << help.out;
    }
  }
  EXPECT_EQ(commands, 26);
}

}  // namespace
}  // namespace qcowkit::test
