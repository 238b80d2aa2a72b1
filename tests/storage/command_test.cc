// Running other programs, and the temporary folders of tests.
#include "tests/support/command.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/temp_dir.h"

namespace qcowkit::test {
namespace {

TEST(Run, TakesOutputErrorsAndExitCodeApart) {
  const CommandResult result = run({"sh", "-c", "echo out; echo err >&2; exit 3"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.out, "out\n");
  EXPECT_EQ(result.err, "err\n");
  EXPECT_FALSE(result.ok());
}

TEST(Run, PassesInputLongerThanAPipeHolds) {
  const std::string text(1'000'000, 'x');
  EXPECT_EQ(run({"cat"}, text).out, text);
  EXPECT_TRUE(run({"true"}, text).ok());
}

TEST(Run, TellsOfSignalsAndMissingPrograms) {
  EXPECT_EQ(run({"sh", "-c", "kill -TERM $$"}).exit_code, 128 + 15);
  EXPECT_EQ(run({"no-such-program-of-this-name"}).exit_code, 127);
  EXPECT_TRUE(have_command("sh"));
  EXPECT_FALSE(have_command("no-such-program-of-this-name"));
}

TEST(BackgroundCommandTest, AnswersWhileItRuns) {
  BackgroundCommand command({"cat"});
  command.send_line("hello");
  EXPECT_TRUE(command.wait_for("hello\n"));
  command.send_line("again");
  EXPECT_EQ(command.finish(), 0);
  EXPECT_EQ(command.output(), "hello\nagain\n");
}

TEST(BackgroundCommandTest, EndsWithoutTheAnswer) {
  BackgroundCommand command({"sh", "-c", "exit 4"});
  EXPECT_FALSE(command.wait_for("never"));
  EXPECT_EQ(command.finish(), 4);
}

TEST(TempDirTest, IsRemovedWithItsContent) {
  std::filesystem::path path;
  {
    const TempDir folder;
    path = folder.path();
    std::filesystem::create_directory(path / "sub");
    std::ofstream(folder.file("sub/file")) << "content";
    EXPECT_TRUE(std::filesystem::exists(path / "sub/file"));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace qcowkit::test
