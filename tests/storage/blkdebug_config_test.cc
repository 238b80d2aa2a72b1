// Rule files of blkdebug: what the reference reads, and how it refuses the rest.
#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>
#include <string>

#include "qcowkit/error.h"
#include "storage/blkdebug.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

std::string failure_of(std::string_view text) {
  try {
    parse_blkdebug_config(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::invalid_argument);
    return error.message();
  }
  return "none";
}

TEST(BlkdebugConfig, BothKindsOfSectionsAreRead) {
  const BlkdebugOptions options = parse_blkdebug_config(
      "# a comment\n"
      "\n"
      "[inject-error]\n"
      "event = \"l2_update\"\n"
      "errno = \"0x1c\"\n"
      "  state =  \"2\"\n"
      "sector = \"9\"\n"
      "once = \"on\"\n"
      "immediately = \"yes\"\n"
      "iotype = \"write-zeroes\"\n"
      "[set-state \"to-two\"]\n"
      "event = \"none\"\n"
      "state = \"1\"\n"
      "new_state = \"2\"");
  ASSERT_EQ(options.inject_error.size(), 1u);
  const BlkdebugInjectError& error = options.inject_error[0];
  EXPECT_EQ(error.event, Event::l2_update);
  EXPECT_EQ(error.errno_value, ENOSPC);
  EXPECT_EQ(error.state, 2u);
  EXPECT_EQ(error.sector, 9u);
  EXPECT_TRUE(error.once);
  EXPECT_TRUE(error.immediately);
  EXPECT_EQ(error.iotype, BlkdebugIoType::write_zeroes);
  ASSERT_EQ(options.set_state.size(), 1u);
  EXPECT_FALSE(options.set_state[0].event);
  EXPECT_EQ(options.set_state[0].state, 1u);
  EXPECT_EQ(options.set_state[0].new_state, 2u);
}

TEST(BlkdebugConfig, WhatIsNotSaidHasTheDefaults) {
  const BlkdebugOptions options = parse_blkdebug_config(
      "[inject-error]\nevent = \"read_aio\"\nsector = \"-1\"\n[set-state]\nevent = \"read_aio\"\n");
  const BlkdebugInjectError& error = options.inject_error.at(0);
  EXPECT_EQ(error.errno_value, EIO);
  EXPECT_EQ(error.state, 0u);
  EXPECT_FALSE(error.sector);
  EXPECT_FALSE(error.iotype);
  EXPECT_FALSE(error.once);
  EXPECT_EQ(options.set_state.at(0).new_state, 0u);
}

TEST(BlkdebugConfig, OfAKeyGivenTwiceTheLastCounts) {
  const BlkdebugOptions options =
      parse_blkdebug_config("[inject-error]\nevent = \"read_aio\"\nevent = \"write_aio\"\n");
  EXPECT_EQ(options.inject_error.at(0).event, Event::write_aio);
}

struct Refusal {
  const char* text;
  const char* message;
};
class BlkdebugConfigRefusals : public testing::TestWithParam<Refusal> {};

TEST_P(BlkdebugConfigRefusals, NameWhatIsWrongInTheWordsOfTheReference) {
  EXPECT_EQ(failure_of(GetParam().text), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, BlkdebugConfigRefusals,
    testing::Values(
        Refusal{"[inject-error]\nevent = \"nonsense\"\n", "invalid parameter value: nonsense"},
        Refusal{"[inject-error]\nevent = \"l1_grow.alloc_table\"\n",
                "invalid parameter value: l1_grow.alloc_table"},
        Refusal{"[inject-error]\nerrno = \"5\"\n", "Missing event name for rule"},
        Refusal{"[foo]\nevent = \"l2_load\"\n", "There is no option group 'foo'"},
        Refusal{"[suspend]\nevent = \"l2_load\"\n", "There is no option group 'suspend'"},
        Refusal{"[inject-error\nevent = \"l2_load\"\n",
                "There is no option group 'inject-error\n'"},
        Refusal{"event = \"l2_load\"\n", "no group defined"},
        Refusal{"  [inject-error]\nevent = \"l2_load\"\n", "no group defined"},
        Refusal{"[]\nevent = \"l2_load\"\n", "no group defined"},
        Refusal{"[inject-error]\nevent = l2_load\n", "invalid parameter value: "},
        Refusal{"[inject-error]\nevent \"l2_load\"\n", "invalid parameter value: "},
        Refusal{"[inject-error]\nevent=\"l2_load\"\n", "Invalid parameter 'event=\"l2_load\"'"},
        Refusal{"[inject-error]\nfoo = \"1\"\n", "Invalid parameter 'foo'"},
        Refusal{"[set-state]\nerrno = \"1\"\n", "Invalid parameter 'errno'"},
        Refusal{"[inject-error]\nerrno = \"x\"\n", "Parameter 'errno' expects a number"},
        Refusal{"[inject-error]\nerrno = \"\"\n", "Parameter 'errno' expects a number"},
        Refusal{"[inject-error]\nstate = \"99999999999999999999999\"\n",
                "Value '99999999999999999999999' is too large for parameter 'state'"},
        Refusal{"[inject-error]\nonce = \"x\"\n", "Parameter 'once' expects 'on' or 'off'"},
        Refusal{"[inject-error]\nevent = \"l2_load\"\niotype = \"x\"\n",
                "invalid parameter value: x"},
        Refusal{"[inject-error]\n   \n", "parse error"},
        Refusal{"[set-state \"a\"]\n[set-state \"a\"]\n", "Duplicate ID 'a' for set-state"},
        Refusal{"[set-state \"1a\"]\n",
                "Parameter 'id' expects an identifier\nIdentifiers consist of letters, digits, "
                "'-', '.', '_', starting with a letter."}));

TEST(BlkdebugConfig, FileIsAddedToTheRulesThatThereAre) {
  const test::TempDir dir;
  const std::string path = dir.file("rules");
  std::ofstream(path) << "[inject-error]\nevent = \"l2_load\"\n";
  BlkdebugOptions options;
  options.inject_error.push_back({Event::read_aio});
  read_blkdebug_config(path, options);
  ASSERT_EQ(options.inject_error.size(), 2u);
  EXPECT_EQ(options.inject_error[1].event, Event::l2_load);
}

TEST(BlkdebugConfig, FileThatIsNotThereSaysWhy) {
  const test::TempDir dir;
  BlkdebugOptions options;
  try {
    read_blkdebug_config(dir.file("none"), options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "Could not read blkdebug config file: No such file or directory");
  }
}

}  // namespace
}  // namespace qcowkit
