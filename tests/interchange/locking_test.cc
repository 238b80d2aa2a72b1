// Two programs at one image: the reference's locks keep us out, and ours keep it out.
#include <gtest/gtest.h>

#include "qcowkit/image.h"
#include "tests/support/command.h"
#include "tests/support/reference_tools.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::BackgroundCommand;
using test::CommandResult;

OpenOptions with(bool read_only, Locking locking = Locking::automatic) {
  OpenOptions options;
  options.format = "qcow2";
  options.read_only = read_only;
  options.locking = locking;
  return options;
}

class ImageLocks : public testing::Test {
 protected:
  ImageLocks() { test::qemu_img({"create", "-q", "-f", "qcow2", path_, "1M"}); }

  std::error_code open_error(const OpenOptions& options) {
    try {
      Image::open(path_, options)->close();
      return {};
    } catch (const Error& error) {
      return error.code();
    }
  }
  CommandResult reference(const std::vector<std::string>& options) {
    std::vector<std::string> command = {"qemu-io", "-f", "qcow2", "-c", "read 0 512"};
    command.insert(command.end(), options.begin(), options.end());
    command.push_back(path_);
    return test::run(command);
  }

  const test::TempDir dir_;
  const std::string path_ = dir_.file("disk.qcow2");
};

/// `qemu-io` with the image open, once it has answered.
class RunningReference {
 public:
  RunningReference(const std::string& path, const std::vector<std::string>& options)
      : program_(command(path, options)) {
    program_.send_line("length");
    is_ready_ = program_.wait_for("1 MiB");
  }
  bool is_ready() const noexcept { return is_ready_; }
  int finish() {
    program_.send_line("quit");
    return program_.finish();
  }

 private:
  static std::vector<std::string> command(const std::string& path,
                                          const std::vector<std::string>& options) {
    std::vector<std::string> words = {"qemu-io", "-f", "qcow2"};
    words.insert(words.end(), options.begin(), options.end());
    words.push_back(path);
    return words;
  }
  BackgroundCommand program_;
  bool is_ready_ = false;
};

TEST_F(ImageLocks, AWriterOfTheReferenceKeepsUsOut) {
  RunningReference writer(path_, {});
  ASSERT_TRUE(writer.is_ready());
  EXPECT_EQ(open_error(with(false)), Errc::in_use);
  EXPECT_EQ(open_error(with(true)), Errc::in_use);
  EXPECT_FALSE(open_error(with(true, Locking::force_share)))
      << "reading all the same was asked for";
  EXPECT_FALSE(open_error(with(true, Locking::off)));
  EXPECT_EQ(writer.finish(), 0);
  EXPECT_FALSE(open_error(with(false))) << "it is gone";
}

TEST_F(ImageLocks, AReaderOfTheReferenceKeepsOurWritersOut) {
  RunningReference reader(path_, {"-r"});
  ASSERT_TRUE(reader.is_ready());
  EXPECT_EQ(open_error(with(false)), Errc::in_use);
  EXPECT_FALSE(open_error(with(true)));
  EXPECT_EQ(reader.finish(), 0);
}

TEST_F(ImageLocks, OurWriterKeepsTheReferenceOut) {
  const auto writer = Image::open(path_, with(false));
  EXPECT_FALSE(reference({}).ok());
  EXPECT_FALSE(reference({"-r"}).ok());
  EXPECT_NE(reference({"-r"}).err.find("lock"), std::string::npos);
  EXPECT_TRUE(reference({"-r", "-U"}).ok());
  writer->close();
  EXPECT_TRUE(reference({}).ok());
}

TEST_F(ImageLocks, OurReaderKeepsItsWritersOut) {
  const auto reader = Image::open(path_, with(true));
  EXPECT_FALSE(reference({}).ok());
  EXPECT_TRUE(reference({"-r"}).ok());
  reader->close();
  EXPECT_TRUE(reference({}).ok());
}

TEST_F(ImageLocks, ABackingFileInUseByOurOverlayIsNotWrittenByTheReference) {
  const std::string overlay = dir_.file("overlay.qcow2");
  test::qemu_img({"create", "-q", "-f", "qcow2", "-b", path_, "-F", "qcow2", overlay});
  const auto image = Image::open(overlay, with(false));
  EXPECT_FALSE(reference({}).ok());
  EXPECT_TRUE(reference({"-r"}).ok());
}

TEST_F(ImageLocks, AnOpenThatFailedLeavesNoLockBehind) {
  const std::string overlay = dir_.file("overlay.qcow2");
  test::qemu_img(
      {"create", "-q", "-u", "-f", "qcow2", "-b", "missing", "-F", "raw", overlay, "1M"});
  EXPECT_THROW(Image::open(overlay, with(false)), Error);
  EXPECT_NO_THROW(test::qemu_img({"rebase", "-u", "-f", "qcow2", "-b", "", overlay}));
}

TEST_F(ImageLocks, AnErrorNamesTheFile) {
  RunningReference writer(path_, {});
  ASSERT_TRUE(writer.is_ready());
  try {
    Image::open(path_, with(false));
    FAIL() << "opened";
  } catch (const Error& error) {
    EXPECT_NE(error.message().find(path_), std::string::npos) << error.message();
    EXPECT_NE(error.message().find("lock"), std::string::npos) << error.message();
  }
}

}  // namespace
}  // namespace qcowkit
