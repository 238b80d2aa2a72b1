// Rules of blkdebug: at the same event, in the same command, both programs see the error.
#include <set>

#include "tests/cli/io/io_side_by_side.h"

namespace qcowkit::test {
namespace {

/// A command, and the events at which an error makes it fail.
struct EventCase {
  const char* name;
  Words setup;    ///< commands that make the image what it is
  Words command;  ///< those that are watched
  std::set<std::string> events;
  Words options = {};
};

void PrintTo(const EventCase& c, std::ostream* out) { *out << c.name; }

class BlkdebugEvents : public IoSideBySide, public testing::WithParamInterface<EventCase> {
 protected:
  /// Whether one of the commands says that it failed.
  bool fails(const std::string& program, const std::string& folder, const std::string& event) {
    const EventCase& c = GetParam();
    std::filesystem::copy_file(file(folder + "/a.qcow2"), file(folder + "/b.qcow2"),
                               std::filesystem::copy_options::overwrite_existing);
    write_file(folder + "/rules",
               "[inject-error]\nevent = \"" + event + "\"\nerrno = \"99\"\nonce = \"on\"\n");
    Words words = {program, "-t", "writethrough"};
    for (const std::string& command : c.command) words.insert(words.end(), {"-c", command});
    words.push_back("blkdebug:" + file(folder + "/rules") + ":" + file(folder + "/b.qcow2"));
    const CommandResult result = run(words);
    const CommandResult checked =
        run({"qemu-img", "check", "-f", "qcow2", file(folder + "/b.qcow2")});
    EXPECT_TRUE(checked.exit_code == 0 || checked.exit_code == 3) << program << checked.out;
    return (result.out + result.err).find("Cannot assign requested address") != std::string::npos;
  }
};

TEST_P(BlkdebugEvents, AnErrorAtTheEventFailsTheCommandInBoth) {
  const EventCase& c = GetParam();
  given_image("a.qcow2", "4G", c.options);
  if (!c.setup.empty()) given_writes("a.qcow2", c.setup);
  for (const std::string& event : c.events) {
    EXPECT_TRUE(fails("qemu-io", "reference", event)) << event;
    EXPECT_TRUE(fails(file("bin/qemu-io"), "ours", event)) << event;
  }
  EXPECT_FALSE(fails("qemu-io", "reference", "reftable_grow"));
  EXPECT_FALSE(fails(file("bin/qemu-io"), "ours", "reftable_grow"));
}

INSTANTIATE_TEST_SUITE_P(
    Commands, BlkdebugEvents,
    testing::Values(
        EventCase{"Read", {"write 0 1M"}, {"read 64k 4k"}, {"l2_load", "read_aio"}},
        EventCase{
            "ReadCompressed", {"write -c 2M 64k"}, {"read 2M 4k"}, {"l2_load", "read_compressed"}},
        EventCase{"WriteInPlace",
                  {"write 0 1M"},
                  {"write 64k 4k"},
                  {"l2_load", "write_aio", "pwritev", "flush_to_os"}},
        EventCase{"WriteAllocating",
                  {"write 0 1M"},
                  {"write 8M 4k"},
                  {"l2_load", "write_aio", "cluster_alloc", "cluster_alloc_space", "refblock_alloc",
                   "refblock_load", "refblock_update_part", "l2_update", "flush_to_os", "pwritev"}},
        EventCase{"WriteWithNewTable",
                  {"write 0 1M"},
                  {"write 1G 64k"},
                  {"l1_update", "l2_update", "l2_alloc_write", "write_aio", "cluster_alloc",
                   "refblock_update_part"}},
        EventCase{
            "WriteCompressed",
            {"write 0 1M"},
            {"write -c 8M 64k", "write 0 512"},
            {"write_compressed", "cluster_alloc_bytes", "refblock_alloc", "l2_update_compressed"}},
        EventCase{"WriteOverCompressed",
                  {"write -c 2M 64k"},
                  {"write 2M 4k"},
                  {"read_compressed", "cow_read", "cow_write", "write_aio", "cluster_alloc",
                   "l2_update"}},
        EventCase{"ZeroAndUnmap",
                  {"write 0 1M"},
                  {"write -zu 64k 64k"},
                  {"cluster_free", "l2_update", "flush_to_os"}}),
    [](const auto& which) { return std::string(which.param.name); });

class Blkdebug : public IoSideBySide {};

TEST_F(Blkdebug, RuleFilesThatMakeNoSenseAreRefusedInTheSameWords) {
  given_image("a.qcow2", "1M");
  for (const char* rules :
       {"[inject-error]\nevent = \"nonsense\"\n", "[inject-error]\nerrno = \"5\"\n",
        "[foo]\nevent = \"l2_load\"\n", "event = \"l2_load\"\n",
        "[inject-error]\nevent = \"l2_load\"\nerrno = \"x\"\n",
        "[inject-error]\nevent = \"l2_load\"\nonce = \"x\"\n", "[set-state]\n   \n"}) {
    given_file("rules", rules);
    expect_same_commands({"read 0 1k"}, "blkdebug:rules:a.qcow2");
  }
  expect_same_commands({"read 0 1k"}, "blkdebug:none:a.qcow2");
}

TEST_F(Blkdebug, RequestsStopAndGoOn) {
  given_image("a.raw", "1M", {"-f", "raw"});
  expect_same_commands({"break read_aio A", "aio_read 0 4k", "wait_break A", "read 4k 4k",
                        "resume A", "aio_flush", "resume A", "remove_break A"},
                       "blkdebug::a.raw", {"-f", "raw"});
}

}  // namespace
}  // namespace qcowkit::test
