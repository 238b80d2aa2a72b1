// The server's end: by signals amid load, and before it has begun.
#include <sys/wait.h>

#include "tests/cli/nbd/server.h"

namespace qcowkit::test {
namespace {

/// Writes blocks until the server has gone, and notes those that were made durable.
constexpr const char* kWriter =
    "noted = open('{noted}', 'w')\n"
    "written = []\n"
    "try:\n"
    "  for i in range(1000000):\n"
    "    block = i * 7919 % 4096\n"
    "    h.pwrite(bytes([i % 255 + 1]) * 4096, block * 4096)\n"
    "    written.append((block, i % 255 + 1))\n"
    "    if i % 16 == 15:\n"
    "      h.flush()\n"
    "      for one in written: noted.write('%d %d\\n' % one)\n"
    "      written = []\n"
    "      noted.flush()\n"
    "except nbd.Error:\n"
    "  pass\n"
    "for one in written: noted.write('%d %d acknowledged\\n' % one)\n"
    "noted.close()\n";

class NbdSignals : public NbdProgram {
 protected:
  std::string writer() const {
    std::string script = kWriter;
    script.replace(script.find("{noted}"), 7, file("noted"));
    return script;
  }
  void serve_and_load() {
    make_image("a.qcow2", "16M");
    serve({"-t", "--pid-file=" + file("pid"), "-f", "qcow2", file("a.qcow2")});
    load_ = std::make_unique<BackgroundCommand>(
        Words{kPython, "-m", "nbd", "-u", uri(), "-c", writer()});
    for (int tries = 0; tries < 2000 && !has_noted_some(); ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ASSERT_TRUE(has_noted_some());
  }
  bool has_noted_some() const {
    std::error_code none;
    return std::filesystem::file_size(file("noted"), none) > 1000 && !none;
  }
  pid_t pid() const {
    pid_t pid = 0;
    std::ifstream(file("pid")) >> pid;
    return pid;
  }
  /// All that was durable is there; with `also_acknowledged`, all that was answered.
  void expect_noted_is_there(bool also_acknowledged) {
    load_->finish();
    expect_ok({"qemu-img", "check", "-q", file("a.qcow2")});
    serve({"-r", "-f", "qcow2", file("a.qcow2")});
    expect_script_ok(
        "durable, last = {}, {}\n"
        "for line in open('" +
        file("noted") +
        "'):\n"
        "  words = line.split()\n"
        "  last[int(words[0])] = int(words[1])\n"
        "  if len(words) == 2: durable[int(words[0])] = int(words[1])\n"
        "expected = " +
        (also_acknowledged ? "last" : "durable") +
        "\n"
        "later = set(b for b in last if last[b] != durable.get(b))\n"
        "wrong = [b for b, v in expected.items()\n"
        "         if h.pread(4096, b * 4096) != bytes([v]) * 4096\n"
        "         and ('" +
        (also_acknowledged ? "yes" : "no") +
        "' == 'yes' or b not in later)]\n"
        "# The request that was under way may have been done, too.\n"
        "assert len(wrong) <= 1, wrong\n"
        "assert len(expected) > 50, len(expected)\n");
  }

  std::unique_ptr<BackgroundCommand> load_;
};

class NbdEndBySignal : public NbdSignals, public testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Each, NbdEndBySignal, testing::Values(SIGTERM, SIGINT, SIGHUP),
                         [](const auto& number) { return std::to_string(number.param); });

TEST_P(NbdEndBySignal, AmidLoadIsOrderly) {
  serve_and_load();
  ASSERT_EQ(::kill(pid(), GetParam()), 0);
  EXPECT_EQ(finish(), 0) << server_->output();
  EXPECT_FALSE(std::filesystem::exists(socket()));
  EXPECT_FALSE(std::filesystem::exists(file("pid")));
  expect_noted_is_there(/*also_acknowledged=*/true);
}

TEST_F(NbdSignals, SecondOneIsNoneTooMany) {
  serve_and_load();
  const pid_t server = pid();
  for (int i = 0; i < 20; ++i) ::kill(server, i % 2 == 0 ? SIGTERM : SIGINT);
  EXPECT_EQ(finish(), 0) << server_->output();
  EXPECT_FALSE(std::filesystem::exists(socket()));
  expect_noted_is_there(/*also_acknowledged=*/true);
}

TEST_F(NbdSignals, SecondOneDoesNotWaitForClientsThatTakeNothing) {
  make_image("a.qcow2", "16M");
  serve({"-t", "--pid-file=" + file("pid"), "-f", "qcow2", file("a.qcow2")});
  // It asks for more than sockets hold, says so, and takes nothing.
  BackgroundCommand stuck({kPython, "-m", "nbd", "-u", uri(), "-c",
                           "import time\n"
                           "for i in range(64): h.aio_pread(nbd.Buffer(1 << 20), 0)\n"
                           "open('" +
                               file("asked") +
                               "', 'w').write('yes')\n"
                               "time.sleep(60)\n"});
  for (int tries = 0; tries < 2000 && !std::filesystem::exists(file("asked")); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const pid_t server = pid();
  ::kill(server, SIGTERM);
  // Later enough to be a signal of its own.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  ::kill(server, SIGINT);
  EXPECT_EQ(finish(), 0) << server_->output();
  EXPECT_FALSE(std::filesystem::exists(socket()));
  expect_sound("a.qcow2");
}

TEST_F(NbdSignals, KilledServerHasMadeDurableWhatItSaid) {
  serve_and_load();
  ASSERT_EQ(::kill(pid(), SIGKILL), 0);
  EXPECT_EQ(finish(), 128 + SIGKILL);
  expect_ok({"qemu-img", "check", "-q", "-r", "leaks", file("a.qcow2")});
  expect_noted_is_there(/*also_acknowledged=*/false);
}

TEST_F(NbdSignals, TooEarlyOnesEndItAsWell) {
  make_image("a.qcow2", "1M");
  for (int delay = 0; delay < 8; ++delay) {
    BackgroundCommand server({"/bin/sh", "-c",
                              "\"$0\" -t -k \"$1\" -f qcow2 \"$2\" & sleep 0.00" +
                                  std::to_string(delay) + "; kill -TERM $!; wait $!",
                              file("links/qemu-nbd"), socket(), file("a.qcow2")});
    const int code = server.finish();
    // Ended in order, or by the signal where it was no server yet.
    EXPECT_TRUE(code == 0 || code == 128 + SIGTERM) << code;
    std::filesystem::remove(socket());
  }
  expect_sound("a.qcow2");
}

TEST_F(NbdSignals, InTheBackgroundEveryFailureBeforeItServesIsTheCommands) {
  make_image("a.qcow2", "1M");
  const std::string image = file("a.qcow2");
  std::ofstream(file("garbage")) << "this is no image";
  const std::vector<std::pair<Words, std::string>> calls = {
      {{"-k", socket(), file("missing")}, "No such file or directory"},
      {{"-k", socket(), "-f", "qcow2", file("garbage")}, "not in qcow2 format"},
      {{"-k", file("no/socket"), image}, "Failed to bind socket"},
      {{"-k", socket(), "--pid-file", file("no/pid"), image}, "Could not create"},
      {{"-k", socket(), "-B", "none", image}, "Bitmap 'none' is not found"},
      {{"-k", socket(), "-l", "none", image}, "Can't find snapshot"},
      {{"-k", socket(), "-o", "2M", image}, "cannot be greater than size"},
      {{"-k", socket(), "-P", "1", image}, "partition"},
      {{"-k", socket(), "--tls-creds", "none", image}, "No TLS credentials"},
      {{"-c", file("no-device"), image}, "Failed to open"},
      {{"-b", "127.0.0.1", "-p", "nothing", image}, "address resolution failed"},
  };
  for (const auto& [options, complaint] : calls) {
    Words words = {file("links/qemu-nbd"), "--fork"};
    words.insert(words.end(), options.begin(), options.end());
    const CommandResult result = run(words);
    EXPECT_EQ(result.exit_code, 1) << complaint;
    EXPECT_NE(result.err.find(complaint), std::string::npos) << complaint << ": " << result.err;
    EXPECT_FALSE(std::filesystem::exists(socket())) << complaint;
  }
  // Nothing holds the image any more.
  write_pattern("a.qcow2", {"write 0 64k"});
}

}  // namespace
}  // namespace qcowkit::test
