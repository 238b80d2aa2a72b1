// The NBD server as a program, run beside a test.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/command.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tool.h"

namespace qcowkit::test {

using Words = std::vector<std::string>;

/// The system's own, for which the client's module is installed.
inline constexpr const char* kPython = "/usr/bin/python3";

/// A test in a directory of its own, in which the tool also goes by the reference's names.
class NbdProgram : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* const client : {"qemu-img", "qemu-nbd", "nbdinfo", "nbdcopy"}) {
      if (!have_command(client)) GTEST_SKIP() << client << " is not installed";
    }
    if (!run({kPython, "-c", "import nbd"}).ok()) GTEST_SKIP() << "libnbd has no Python here";
    std::filesystem::create_directory(file("links"));
    std::filesystem::create_symlink(test::tool(), file("links/qemu-nbd"));
  }

  std::string file(const std::string& name) const { return directory_.file(name); }
  std::string socket() const { return file("socket"); }
  std::string uri(const std::string& export_name = "") const {
    return "nbd+unix:///" + export_name + "?socket=" + socket();
  }

  /// Starts `qcow nbd` on the test's socket with these words, and waits until it listens.
  void serve(Words words) {
    words.insert(words.begin(), {test::tool(), "nbd", "-k", socket()});
    start(words);
  }
  void start(const Words& words) {
    server_.reset();
    std::filesystem::remove(socket());
    server_ = std::make_unique<BackgroundCommand>(words);
    wait_until_it_listens();
  }
  void wait_until_it_listens() const {
    bool is_there = listens();
    for (int tries = 0; tries < 1000 && !is_there; ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      is_there = listens();
    }
    ASSERT_TRUE(is_there) << "the server does not listen";
  }
  /// The server's exit code, once it has ended by itself.
  int finish() { return server_->finish(); }
  /// Kills it, so that it can do nothing more.
  void kill_server() { server_.reset(); }

  void expect_ok(const Words& words) const {
    const CommandResult result = run(words);
    EXPECT_TRUE(result.ok()) << words[0] << ": " << result.out << result.err;
  }
  /// Runs Python with a connection `h` to the export.
  CommandResult nbdsh(const std::string& script, const std::string& export_name = "") const {
    return run({kPython, "-m", "nbd", "-u", uri(export_name), "-c", script});
  }
  void expect_script_ok(const std::string& script) const {
    const CommandResult result = nbdsh(script);
    EXPECT_TRUE(result.ok()) << script << result.out << result.err;
  }

  void make_image(const std::string& name, const std::string& size, Words options = {}) const {
    Words words = {"qemu-img", "create", "-q", "-f", "qcow2"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {file(name), size});
    expect_ok(words);
  }
  void write_pattern(const std::string& name, const Words& commands) const {
    Words words = {"qemu-io", "-t", "unsafe", "-f", "qcow2"};
    for (const std::string& command : commands) words.insert(words.end(), {"-c", command});
    words.push_back(file(name));
    expect_ok(words);
  }
  void expect_sound(const std::string& name) const { expect_ok({"qemu-img", "check", file(name)}); }

 private:
  bool listens() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket().copy(address.sun_path, sizeof address.sun_path - 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int result = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    ::close(fd);
    return result == 0;
  }

 protected:
  const TempDir directory_;
  std::unique_ptr<BackgroundCommand> server_;
};

}  // namespace qcowkit::test
