// What the drivers for files and devices ask of a path.
#include "storage/file_driver.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/errors.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::error_of;

TEST(FileDriver, EachDriverTakesOnlyItsKind) {
  const test::TempDir folder;
  const std::string file = folder.file("file");
  std::ofstream(file) << "text";
  require_kind_for_driver(file, "file");
  require_kind_for_driver("/dev/null", "host_device");
  EXPECT_EQ(
      error_of([&] { require_kind_for_driver(file, "host_device"); }).message(),
      "'host_device' driver requires '" + file + "' to be either a character or block device");
  EXPECT_EQ(error_of([] { require_kind_for_driver("/dev/null", "file"); }).message(),
            "'file' driver requires '/dev/null' to be a regular file");
  EXPECT_EQ(error_of([] { require_kind_for_driver("/tmp", "host_cdrom"); }).message(),
            "'host_cdrom' driver requires '/tmp' to be either a character or block device");
}

TEST(FileDriver, PathThatIsNotThereIsLeftToWhoOpensIt) {
  const test::TempDir folder;
  require_kind_for_driver(folder.file("missing"), "file");
}

}  // namespace
}  // namespace qcowkit
