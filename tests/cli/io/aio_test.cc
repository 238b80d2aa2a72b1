// Requests in the background, and breakpoints that order them.
#include "tests/cli/io/io_side_by_side.h"
#include "tests/support/tool.h"

namespace qcowkit::test {
namespace {

class IoAio : public IoSideBySide {
 protected:
  void SetUp() override {
    IoSideBySide::SetUp();
    if (IsSkipped()) return;
    given_image("a.qcow2", "4M");
    given_writes("a.qcow2", {"write -P 1 0 64k", "write -P 2 64k 1k"});
  }

  /// Commands of -c and lines of input end the same way.
  void expect_same_script(const Words& commands, const std::string& image) const {
    expect_same_commands(commands, image);
    std::string input;
    for (const std::string& command : commands) input += command + '\n';
    expect_same_io({image}, input);
  }
};

TEST_F(IoAio, ResultsAreToldWhenTheyAreWaitedFor) {
  for (const Words& commands :
       {Words{"aio_read 0 64k", "aio_flush", "length"},
        Words{"aio_read -P 1 0 64k", "aio_flush", "aio_read -P 5 64k 1k", "aio_flush"},
        Words{"aio_read -v 65528 16", "aio_flush", "aio_read -C 0 1k", "aio_flush"},
        Words{"aio_write -P 9 0 64k", "aio_flush", "read -P 9 0 64k"},
        Words{"aio_read 4M 1", "aio_flush", "aio_write 4M 1", "aio_flush", "length"},
        Words{"aio_write -z 4M 1", "aio_flush", "aio_write -z 0 4G", "aio_flush"},
        Words{"aio_write 0 64k", "close", "length"}, Words{"aio_write 0 64k", "quit", "length"},
        Words{"aio_write 0 64k", "truncate 5M", "length"}, Words{"aio_write 0 64k"},
        Words{"aio_write -f 0 1k 1k", "aio_flush"}, Words{"aio_write -q 0 1k", "aio_flush"},
        Words{"aio_read -i 0 1", "aio_write -i 0 1", "aio_flush", "length"}}) {
    expect_same_script(commands, "a.qcow2");
  }
  expect_same_content("a.qcow2");
}

TEST_F(IoAio, SleepTellsWhatHasEndedMeanwhile) {
  expect_same_script({"aio_write 0 64k", "sleep 300", "length"}, "a.qcow2");
}

TEST_F(IoAio, ResultsAreToldWhileInputIsWaitedFor) {
  BackgroundCommand program({test::tool(), "io", file("ours/a.qcow2")});
  program.send_line("aio_write -P 3 0 64k");
  EXPECT_TRUE(program.wait_for("wrote 65536/65536 bytes at offset 0\n"));
  program.send_line("read -q -P 3 0 64k");
  program.send_line("length");
  EXPECT_TRUE(program.wait_for("4 MiB\n"));
  EXPECT_EQ(program.finish(), 0) << program.output();
}

TEST_F(IoAio, ManyRequestsEnd) {
  Words words = {"io"};
  for (int i = 0; i < 200; ++i) {
    words.insert(words.end(), {"-c", "aio_write -P " + std::to_string(i) + " " +
                                         std::to_string(i * 1000) + " 1000"});
  }
  words.insert(words.end(), {"-c", "aio_flush"});
  for (int i = 0; i < 200; ++i) {
    words.insert(words.end(), {"-c", "read -q -P " + std::to_string(i) + " " +
                                         std::to_string(i * 1000) + " 1000"});
  }
  words.push_back(file("ours/a.qcow2"));
  const CommandResult result = qcow(words);
  EXPECT_EQ(result.exit_code, 0) << result.out;
  EXPECT_EQ(result.out.find("failed"), std::string::npos);
  int told = 0;
  for (std::size_t at = 0; (at = result.out.find("wrote 1000/1000", at)) != result.out.npos; ++at) {
    ++told;
  }
  EXPECT_EQ(told, 200);
}

TEST_F(IoAio, BreakpointsOrderRequests) {
  for (const Words& commands : {Words{"break write_aio A", "aio_write 128k 64k", "wait_break A",
                                      "length", "read 64k 64k", "resume A", "aio_flush"},
                                Words{"break write_aio A", "aio_write 256k 64k", "wait_break A",
                                      "write 320k 64k", "resume A", "aio_flush"},
                                Words{"break write_aio A", "aio_write 384k 64k", "wait_break A",
                                      "remove_break A", "aio_flush"},
                                Words{"break write_aio A", "aio_write 448k 64k", "sleep 300",
                                      "resume A", "sleep 300", "length"},
                                Words{"break write_aio A", "aio_write 512k 64k", "wait_break A",
                                      "resume A", "resume A", "aio_flush"},
                                Words{"break read_aio A", "aio_read 0 64k", "wait_break A",
                                      "length", "resume A", "aio_flush"}}) {
    expect_same_commands(commands, "blkdebug::a.qcow2");
  }
  expect_same_content("a.qcow2");
}

TEST_F(IoAio, BreakpointsAreSetAndForgotten) {
  for (const Words& commands :
       {Words{"break nonsense A", "break none A", "break l2_load A", "break l2_load B",
              "break l2_load A", "break 5 A", "break L2_load A"},
        Words{"break write_aio A", "resume A", "remove_break A", "remove_break A"},
        Words{"break write_aio A", "remove_break A", "aio_write 0 64k", "aio_flush", "resume A"}}) {
    expect_same_script(commands, "blkdebug::a.qcow2");
  }
  expect_same_script({"break write_aio A", "break x A", "resume A", "remove_break A"}, "a.qcow2");
  EXPECT_EQ(qcow({"io", "-c", "wait_break A", file("ours/a.qcow2")}).exit_code, 1);
}

}  // namespace
}  // namespace qcowkit::test
