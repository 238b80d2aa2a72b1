// Encrypted connections of the driver "nbd".
#include "storage/nbd_tls_relay.h"

#include <filesystem>

#include "tests/storage/nbd_storage_fixture.h"

namespace qcowkit::test {
namespace {

class NbdStorageTls : public NbdStorage {
 protected:
  void SetUp() override {
    NbdStorage::SetUp();
    if (!have_command("psktool")) GTEST_SKIP() << "psktool is not installed";
    make_keys(directory_.file("keys.psk"));
    serve({"--tls=require", "--tls-psk=" + directory_.file("keys.psk"), "memory", "1M"});
  }
  static void make_keys(const std::string& path) {
    ASSERT_TRUE(run({"psktool", "-u", "alice", "-p", path}).ok());
  }
};

TEST_F(NbdStorageTls, PresharedKeysLetIn) {
  NbdClientOptions with_key = options();
  with_key.tls = NbdClientTls{.psk_file = directory_.file("keys.psk"), .username = "alice"};
  const auto storage = open_nbd_storage(with_key);
  const Bytes bytes = pattern(100'000, 13);
  storage->write(1, bytes);
  EXPECT_EQ(read(*storage, 1, bytes.size()), bytes);
  storage->close();
}

TEST_F(NbdStorageTls, WrongKeysAndNoKeysDoNot) {
  EXPECT_THROW(open_nbd_storage(options()), Error);
  std::filesystem::create_directory(directory_.file("wrong"));
  make_keys(directory_.file("wrong/keys.psk"));
  NbdClientOptions with_key = options();
  with_key.tls = NbdClientTls{.psk_file = directory_.file("wrong/keys.psk"), .username = "alice"};
  EXPECT_THROW(open_nbd_storage(with_key), Error);
}

}  // namespace
}  // namespace qcowkit::test
