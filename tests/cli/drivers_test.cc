// Drivers that filter or combine others, beside the reference.
#include <gtest/gtest.h>

#include <string>

#include "tests/cli/io/io_side_by_side.h"

namespace qcowkit::test {
namespace {

class Drivers : public IoSideBySide {
 protected:
  void SetUp() override {
    IoSideBySide::SetUp();
    if (IsSkipped()) return;
    std::string content(1 << 20, '\0');
    for (std::size_t i = 0; i < content.size(); ++i) content[i] = "abcdefg"[i / 512 % 7];
    for (const char* name : {"a.img", "b.img", "c.img"}) given_file(name, content);
    given_file("half.img", content.substr(0, 512 << 10));
    given_file("odd.img", content.substr(0, 1000));
  }

  void expect_same_info(const std::string& options) const {
    expect_same_words({"info", "--image-opts", options});
  }
  void expect_same_map(const std::string& options) const {
    expect_same_success({"map", "--image-opts", options});
    const auto [reference, ours] = run_both({"map", "--output=json", "--image-opts", options});
    // Newer releases tell this as well.
    EXPECT_EQ(std::regex_replace(ours.out, std::regex(R"("compressed": false, )"), ""),
              reference.out)
        << options;
  }
  void expect_same_on(const std::string& options, const Words& commands) const {
    expect_same_commands(commands, options, {"--image-opts"});
  }
  void expect_same_throttling(const std::string& object) const {
    expect_same_commands({"read 0 64k"},
                         "driver=throttle,throttle-group=tg,file.driver=file,file.filename=a.img",
                         {"--object", object, "--image-opts"});
  }

  static constexpr const char* kVerified =
      "driver=blkverify,test.driver=raw,test.file.filename=a.img,raw.driver=file,"
      "raw.filename=b.img";
  inline static const std::string kTwo =
      "children.0.driver=raw,children.0.file.filename=a.img,"
      "children.1.driver=raw,children.1.file.filename=b.img";
  inline static const std::string kThree =
      kTwo + ",children.2.driver=raw,children.2.file.filename=c.img";
};

TEST_F(Drivers, NullDisksTakeTheSameOptions) {
  for (const char* options :
       {"driver=null-co", "driver=null-co,size=1M", "driver=null-aio,size=1M",
        "driver=null-co,latency-ns=-1", "driver=null-co,size=9223372036854775807",
        "driver=null-co,size=1M,filename=x"}) {
    expect_same_info(options);
  }
  expect_same_words({"info", "null-co://"});
  expect_same_words({"info", R"(json:{"driver":"null-co","size":1048576})"});
  expect_same_map("driver=null-co,size=1M,read-zeroes=on");
  expect_same_on("driver=null-co,size=1M,read-zeroes=on",
                 {"read -v 0 32", "write -P 3 0 64k", "read -P 0 0 64k", "discard 0 64k",
                  "write -z 0 64k", "write -z -n 0 64k", "length", "truncate 2M", "flush"});
}

TEST_F(Drivers, PartsOfAFileAreRefusedInTheSameWords) {
  for (const char* part : {"offset=512", "offset=512,size=1024", "offset=2M", "offset=1M",
                           "size=2M", "size=0", "offset=512k,size=1M", "size=1000", "offset=100",
                           "offset=100,size=512", "offset=-1", "offset=x"}) {
    expect_same_info(std::string("driver=raw,file.filename=a.img,") + part);
  }
  for (const char* part :
       {"offset=512", "offset=1", "offset=1025", "size=1024", "offset=512,size=1024"}) {
    expect_same_info(std::string("driver=raw,file.filename=odd.img,") + part);
  }
}

TEST_F(Drivers, PartsOfAFileDoTheSame) {
  const std::string fixed = "driver=raw,offset=512,size=64k,file.filename=a.img";
  const std::string open = "driver=raw,offset=512,file.filename=b.img";
  expect_same_map(fixed);
  expect_same_map(open);
  expect_same_success({"measure", "--image-opts", fixed, "-O", "qcow2"});
  expect_same_failure({"resize", "--image-opts", fixed, "+1M"});
  expect_same_success({"resize", "--image-opts", open, "+1M"});
  expect_same_success({"convert", "-O", "raw", "--image-opts", fixed, "part.raw"});
  expect_same_content("part.raw");
  expect_same_on(
      fixed, {"read -v 0 16", "write -P 7 1k 3k", "write 64k 1k", "write 63k 2k", "read 64k 512",
              "write -z 64k 512", "discard 64k 512", "truncate 2M", "length"});
  expect_same_on(open, {"write -P 8 500 5000", "truncate 2M", "length", "truncate 256k", "length"});
  expect_same_content("a.img");
  expect_same_content("b.img");
}

TEST_F(Drivers, ThrottleGroupsAreCheckedInTheSameWords) {
  for (const char* limits :
       {"x-iops-total=10,x-iops-read=3", "x-iops-total-max=10",
        "x-iops-total=10,x-iops-total-max=5",
        "x-iops-total=10,x-iops-total-max=50,x-iops-total-max-length=0",
        "x-iops-total=10,x-iops-total-max-length=3", "x-iops-size=512",
        "x-bps-total=1000000000000000000",
        "x-bps-total=1000000,x-bps-total-max=10000000000000,x-bps-total-max-length=1000",
        "x-iops-total=10", "limits.iops-total=10,x-bps-total=10"}) {
    expect_same_throttling(std::string("throttle-group,id=tg,") + limits);
  }
  expect_same_throttling("throttle-group,id=other");
  expect_same_throttling(R"({"qom-type":"throttle-group","id":"tg","limits":{"iops-total":10}})");
  for (const char* options : {"driver=throttle", "driver=throttle,throttle-group=x",
                              "driver=throttle,file.driver=file,file.filename=a.img"}) {
    expect_same_info(options);
  }
}

TEST_F(Drivers, BlkverifyEndsAtTheSameDifference) {
  expect_same_on(kVerified, {"write -P 3 0 64k", "read -P 3 0 64k", "flush", "length"});
  expect_same_content("b.img");
  given_writes("a.img", {"write -P 4 5000 1k"});
  expect_same_on(kVerified, {"read 0 1k", "read 0 64k", "read 0 512"});
  expect_same_on(kVerified, {"read 5001 2k"});
  expect_same_on(kVerified, {"aio_read 4k 2k", "aio_flush"});
  expect_same_words({"info", "blkverify:b.img:a.img"});
  for (const char* options : {"driver=blkverify", "driver=blkverify,test.filename=a.img",
                              "driver=blkverify,raw.filename=a.img", kVerified}) {
    expect_same_info(options);
  }
}

TEST_F(Drivers, QuorumTakesTheSameOptions) {
  const std::string quorum = "driver=quorum,";
  for (const char* options :
       {"vote-threshold=0,", "vote-threshold=-1,", "vote-threshold=x,", "vote-threshold=4,",
        "vote-threshold=3,blkverify=on,", "vote-threshold=2,rewrite-corrupted=foo,",
        "vote-threshold=2,rewrite-corrupted=on,", "vote-threshold=2,read-pattern=foo,",
        "vote-threshold=2,read-pattern=fifo,", "read-pattern=fifo,", "vote-threshold=1,"}) {
    expect_same_info(quorum + options + kThree);
  }
  expect_same_info(quorum + "vote-threshold=1");
  expect_same_info(quorum + "vote-threshold=2,blkverify=on,rewrite-corrupted=on," + kTwo);
  expect_same_info(quorum +
                   "vote-threshold=2,children.0.driver=raw,children.0.file.filename=a.img,"
                   "children.1.driver=raw,children.1.file.filename=half.img");
}

TEST_F(Drivers, QuorumComesToTheSameResult) {
  given_writes("a.img", {"write -P 4 5000 1k"});
  const Words reads = {"read -v 5000 16", "read 0 64k", "write -P 9 128k 64k", "flush"};
  for (const char* options :
       {"vote-threshold=2,", "vote-threshold=3,", "vote-threshold=2,read-pattern=fifo,",
        "vote-threshold=2,rewrite-corrupted=on,"}) {
    expect_same_on(std::string("driver=quorum,") + options + kThree, reads);
  }
  expect_same_content("a.img");
  given_writes("a.img", {"write -P 4 5000 1k"});
  for (const char* options : {"vote-threshold=2,", "vote-threshold=2,blkverify=on,"}) {
    expect_same_on(std::string("driver=quorum,") + options + kTwo, reads);
  }
}

TEST_F(Drivers, CopyOnReadKeepsTheSameClusters) {
  given_image("base.qcow2", "1M");
  given_writes("base.qcow2", {"write -P 5 0 256k"});
  given_image("middle.qcow2", "1M", {"-b", "base.qcow2", "-F", "qcow2"});
  given_writes("middle.qcow2", {"write -P 6 64k 64k"});
  given_image("top.qcow2", "1M", {"-b", "middle.qcow2", "-F", "qcow2"});
  given("top2.qcow2",
        {"create", "-q", "-f", "qcow2", "-b", "middle.qcow2", "-F", "qcow2", "top2.qcow2"});
  expect_same_on("driver=copy-on-read,file.driver=qcow2,file.file.filename=top.qcow2",
                 {"read -P 5 100 100", "read -P 6 100k 100", "read -P 0 512k 4k",
                  "write -P 3 130k 20", "read -P 5 140k 1k"});
  expect_same_on(
      "driver=copy-on-read,bottom=lowest,file.driver=qcow2,file.file.filename=top2.qcow2,"
      "file.backing.node-name=lowest,file.backing.driver=qcow2,"
      "file.backing.file.filename=middle.qcow2",
      {"read -P 5 100 100", "read -P 6 100k 100"});
  for (const char* name : {"top.qcow2", "top2.qcow2"}) {
    const Words map = {"qemu-img", "map", "--output=json", name};
    EXPECT_EQ(run_in("ours", map).out, run_in("reference", map).out);
  }
  expect_same_on("driver=copy-on-read,bottom=nobody,file.driver=qcow2,file.file.filename=top.qcow2",
                 {"read 0 512"});
  expect_same_info("driver=copy-on-read,file.driver=qcow2,file.file.filename=top.qcow2");
}

TEST_F(Drivers, CompressStoresTheSameClusters) {
  given_image("z.qcow2", "1M");
  expect_same_on("driver=compress,file.driver=qcow2,file.file.filename=z.qcow2",
                 {"write -P 3 0 64k", "write -P 3 64k 128k", "read -P 3 0 64k",
                  "write -P 3 256k 4k", "write 1M 64k", "length"});
  const Words map = {"qemu-img", "map", "--output=json", "z.qcow2"};
  EXPECT_EQ(run_in("ours", map).out, run_in("reference", map).out);
  for (const char* options : {"driver=compress",
                              "driver=compress,file.driver=raw,"
                              "file.file.filename=a.img"}) {
    expect_same_info(options);
  }
}

TEST_F(Drivers, PreallocatedSpaceIsGivenBack) {
  given_image("p.qcow2", "1M");
  expect_same_on(
      "driver=qcow2,file.driver=preallocate,file.prealloc-size=1M,file.prealloc-align=64k,"
      "file.file.driver=file,file.file.filename=p.qcow2",
      {"write -P 3 64k 64k", "length"});
  expect_same_content("p.qcow2");
  EXPECT_EQ(std::filesystem::file_size(file("ours/p.qcow2")),
            std::filesystem::file_size(file("reference/p.qcow2")));
  for (const char* options : {"prealloc-align=1000,", "prealloc-align=0,", "prealloc-size=-1,"}) {
    expect_same_info(std::string("driver=preallocate,") + options + "file.filename=a.img");
  }
}

TEST_F(Drivers, FilesAndDevicesAreToldApart) {
  for (const char* options :
       {"driver=host_device,filename=a.img", "driver=host_device,filename=/tmp",
        "driver=file,filename=/tmp", "driver=file,filename=/dev/null", "driver=host_device",
        "driver=host_cdrom,filename=a.img"}) {
    expect_same_info(options);
  }
}

}  // namespace
}  // namespace qcowkit::test
