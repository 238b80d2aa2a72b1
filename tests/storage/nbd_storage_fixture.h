// The driver "nbd" before a server that is not ours.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "storage/nbd_storage.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::test {

using Words = std::vector<std::string>;
using Bytes = std::vector<std::byte>;

inline Bytes pattern(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  Bytes bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

class NbdStorage : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!have_command("nbdkit")) GTEST_SKIP() << "nbdkit is not installed";
  }

  /// Starts nbdkit on a Unix socket with these words (filters, plugin, parameters).
  void serve(Words words) {
    server_.reset();
    std::filesystem::remove(socket());
    words.insert(words.begin(), {"nbdkit", "--foreground", "--unix", socket()});
    server_ = std::make_unique<BackgroundCommand>(words);
    for (int tries = 0; tries < 500 && !std::filesystem::exists(socket()); ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ASSERT_TRUE(std::filesystem::exists(socket())) << "nbdkit does not listen";
  }
  void stop_server() { server_.reset(); }  // by SIGKILL

  std::string socket() const { return directory_.file("socket"); }
  NbdClientOptions options(bool read_only = false) const {
    NbdClientOptions options;
    options.socket_path = socket();
    options.read_only = read_only;
    options.open_timeout_seconds = 20;  // a socket is there before somebody listens
    options.name = "nbd+unix://";
    return options;
  }

  const TempDir directory_;
  std::unique_ptr<BackgroundCommand> server_;
};

inline Bytes read(Storage& storage, std::uint64_t offset, std::size_t length) {
  Bytes bytes(length, std::byte{0x55});
  storage.read(offset, bytes);
  return bytes;
}

}  // namespace qcowkit::test
