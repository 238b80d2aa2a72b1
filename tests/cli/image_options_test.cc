// Images named by lists of options and by "json:", side by side with the reference.
#include "tests/cli/side_by_side.h"

namespace qcowkit::test {
namespace {

class ImageOptionsTest : public SideBySide {
 protected:
  void SetUp() override {
    SideBySide::SetUp();
    if (IsSkipped()) return;
    given_image("base", "1M");
    given_writes("base", {"write -P 1 0 64k"});
    given_image("a", "1M", {"-b", "base", "-F", "qcow2"});
    given_writes("a", {"write -P 2 64k 64k"});
    given_file("a.raw", std::string(65536, 'x'));
  }
  static std::string with(const std::string& options) {
    return "driver=qcow2," + options + ",file.filename=a";
  }
};

TEST_F(ImageOptionsTest, RuntimeOptionsAreTaken) {
  for (const std::string options : {"lazy-refcounts=on",
                                    "l2-cache-size=1M",
                                    "refcount-cache-size=1M",
                                    "cache-size=2M",
                                    "cache-size=2M,l2-cache-size=1M",
                                    "l2-cache-entry-size=4k",
                                    "cache-clean-interval=10",
                                    "pass-discard-request=on",
                                    "pass-discard-snapshot=off",
                                    "pass-discard-other=on",
                                    "overlap-check=none",
                                    "overlap-check=all",
                                    "overlap-check.template=constant",
                                    "overlap-check=cached,overlap-check.template=cached",
                                    "overlap-check.main-header=on",
                                    "overlap-check.active-l1=off",
                                    "overlap-check.active-l2=off",
                                    "overlap-check.refcount-table=off",
                                    "overlap-check.refcount-block=off",
                                    "overlap-check.snapshot-table=off",
                                    "overlap-check.inactive-l1=off",
                                    "overlap-check.inactive-l2=on",
                                    "overlap-check.bitmap-directory=off",
                                    "file.locking=off",
                                    "file.aio=threads",
                                    "read-only=on",
                                    "auto-read-only=on",
                                    "cache.direct=on",
                                    "cache.no-flush=on",
                                    "force-share=on",
                                    "node-name=x"}) {
    expect_same_success({"info", "--image-opts", with(options)});
    expect_same_success({"convert", "--image-opts", with(options), "out.raw"});
    EXPECT_EQ(read_file("ours/out.raw"), read_file("reference/out.raw")) << options;
  }
}

TEST_F(ImageOptionsTest, RuntimeOptionsAreTakenForWriting) {
  for (const std::string options : {"lazy-refcounts=off,cache-size=2M", "pass-discard-snapshot=off",
                                    "overlap-check=all", "cache.no-flush=on", "file.locking=off"}) {
    expect_same_success({"snapshot", "-c", options, "--image-opts", with(options)});
    expect_same_success({"snapshot", "-d", options, "--image-opts", with(options)});
    expect_same_image("a");
  }
}

TEST_F(ImageOptionsTest, BadOptionsAreRefused) {
  for (const std::string options :
       {"lazy-refcounts=x", "l2-cache-size=x", "pass-discard-request=x", "overlap-check=x",
        "overlap-check.template=x", "overlap-check.main-header=x", "overlap-check.nonsense=on",
        "overlap-check=cached,overlap-check.template=all", "cache-size=1M,l2-cache-size=2M",
        "cache-size=1M,l2-cache-size=1M,refcount-cache-size=1M", "nonsense=1", "key-secret=x",
        "discard-no-unref=on"}) {
    expect_same_failure({"info", "--image-opts", with(options)});
    expect_same_failure({"convert", "--image-opts", with(options), "out.raw"});
  }
}

TEST_F(ImageOptionsTest, BackingFileIsLeftOut) {
  // The reference would rather be told of null, which a list of options cannot hold.
  expect_same_success(
      {"convert", R"(json:{"driver":"qcow2","backing":null,"file.filename":"a"})", "out.raw"});
  EXPECT_EQ(read_file("ours/out.raw"), read_file("reference/out.raw"));
  EXPECT_EQ(read_file("ours/out.raw").substr(0, 65536), std::string(65536, '\0'));
  expect_same_failure({"convert", "--image-opts", with("backing=x"), "out.raw"});
  expect_same_success({"map", R"(json:{"driver":"qcow2","backing":null,"file.filename":"a"})"});
}

TEST_F(ImageOptionsTest, BackingFileHasOptionsOfItsOwn) {
  for (const std::string options :
       {"backing.driver=qcow2", "backing.l2-cache-size=1M", "backing.overlap-check=none"}) {
    expect_same_success({"convert", "--image-opts", with(options), "out.raw"});
    EXPECT_EQ(read_file("ours/out.raw"), read_file("reference/out.raw")) << options;
    // Describing does not open it, and then its options are strange.
    expect_same_failure({"info", "--image-opts", with(options)});
  }
  // The file may be another than the one that the image names, also where it names none.
  given_image("other", "1M");
  given_writes("other", {"write -P 5 0 1M"});
  for (const std::string name : {"a", "base"}) {
    for (const std::string options :
         {"backing.file.filename=other", "backing.driver=qcow2,backing.file.filename=other",
          "backing.driver=raw,backing.file.filename=a.raw"}) {
      const std::string all = "driver=qcow2," + options + ",file.filename=" + name;
      expect_same_success({"convert", "--image-opts", all, "out.raw"});
      EXPECT_EQ(read_file("ours/out.raw"), read_file("reference/out.raw")) << all;
    }
  }
  EXPECT_EQ(expect_same_outcome(
                {"convert", "--image-opts", with("backing.file.filename=none"), "out.raw"})
                .exit_code,
            1);
  // As raw, it is read as the bytes that it is made of.
  expect_same_success({"convert", "--image-opts", with("backing.driver=raw"), "out.raw"});
  EXPECT_EQ(read_file("ours/out.raw"), read_file("reference/out.raw"));
}

TEST_F(ImageOptionsTest, ReadOnlyImagesAreNotChanged) {
  for (const Words& words :
       {Words{"resize", "--image-opts", with("read-only=on"), "2M"},
        Words{"snapshot", "-c", "x", "--image-opts", with("read-only=on")},
        Words{"snapshot", "-c", "x", "--image-opts", with("force-share=on")}}) {
    EXPECT_EQ(expect_same_outcome(words).exit_code, 1);
  }
  expect_same_success({"snapshot", "-l", "--image-opts", with("read-only=on")});
}

TEST_F(ImageOptionsTest, NodesAreToldOfInTheSameWords) {
  given_file("rules", "[inject-error]\nevent = \"l2_load\"\n");
  for (const std::string options : {"file.filename=a",
                                    "driver=raw,file.filename=a",
                                    "driver=raw,file.filename=a,offset=512",
                                    "driver=raw,file.filename=a,offset=0,size=1024",
                                    "driver=file,filename=a",
                                    "driver=null-co,size=1M",
                                    "driver=null-co,size=1M,read-zeroes=on",
                                    "driver=raw,file.driver=null-co,file.size=1M",
                                    "driver=raw,file.driver=qcow2,file.file.filename=a",
                                    "driver=raw,file.driver=raw,file.file.filename=a",
                                    "driver=blkdebug,image.filename=a",
                                    "driver=blkdebug,image.driver=qcow2,image.file.filename=a",
                                    "driver=blkdebug,config=rules,image.filename=a,align=512",
                                    "driver=qcow2,file.driver=blkdebug,file.image.filename=a",
                                    "driver=blkverify,test.file.filename=a,raw.filename=a.raw",
                                    "driver=quorum,children.0.file.filename=a,"
                                    "children.1.file.filename=a,vote-threshold=1",
                                    "driver=compress,file.driver=qcow2,file.file.filename=a",
                                    "driver=preallocate,file.filename=a",
                                    "driver=host_device,filename=/dev/null",
                                    "driver=qcow2,file.filename=a,read-only"}) {
    expect_same_success({"info", "--image-opts", options});
  }
  const std::string throttle = "driver=throttle,throttle-group=g,file.driver=qcow2,";
  expect_same_success({"info", "--object", "throttle-group,id=g", "--image-opts",
                       throttle + "file.file.filename=a"});
}

TEST_F(ImageOptionsTest, NamesOfOtherDriversAreRead) {
  for (const std::string name :
       {"file:a", "./a", "null-co://", "blkdebug::a", "blkdebug::blkdebug::a", "/dev/null",
        "host_device:/dev/null", "json:{'driver':'raw','file':{'driver':'file','filename':'a'}}",
        R"(json:{"file.filename":"a"})",
        R"(json:{"driver":"raw","offset":512,"file":{"filename":"a"}})",
        R"(json:{"driver":"qcow2","file":{"filename":"a"},"file.filename":"b"})",
        R"(json:{"driver":"qcow2","file":{"driver":"blkdebug","image":{"filename":"a"},)"
        R"("inject-error":[{"event":"read_aio","errno":5}]}})"}) {
    expect_same_success({"info", name});
  }
  expect_same_success({"info", "-f", "raw", R"(json:{"driver":"qcow2","file":{"filename":"a"}})"});
  for (const std::string name :
       {"nope:a",
        "quorum:x",
        "blkdebug:a",
        "blkverify:a",
        "null-co:x",
        "host_device:a",
        "json:{}",
        "json:",
        "json:[]",
        "json:3",
        "json:a",
        "json:{",
        R"(json:{"driver":})",
        R"(json:{"driver" "raw"})",
        R"(json:{"driver":"raw"}})",
        R"(json:{"driver":"raw",})",
        R"(json:{"driver":01})",
        R"(json:{"driver":"r\xaw"})",
        R"(json:{1:2})",
        R"(json:{"a":[1,2})",
        R"(json:{"a":"\ud800"})",
        R"(json:{"a":1,"a":2})",
        R"(json:{"driver":"qcow2","file":null})",
        R"(json:{"driver":"qcow2","file":"a"})",
        R"(json:{"driver":"raw","offset":true,"file":{"filename":"a"}})"}) {
    expect_same_failure({"info", name});
  }
  for (const std::string format : {"nope", "quorum", "throttle", "null-co", "qcow", "luks"}) {
    expect_same_failure({"info", "-f", format, "a.raw"});
  }
}

TEST_F(ImageOptionsTest, TreesThatMakeNoSenseAreRefusedInTheSameWords) {
  for (const std::string options : {"a",
                                    "help",
                                    "filename=a",
                                    "driver=qcow2",
                                    "driver=qcow2,filename=a",
                                    "driver=qcow2,file=a",
                                    "driver=qcow2,file.filename=a,file=b",
                                    "driver=qcow2,file.driver=nope,file.filename=a",
                                    "driver=qcow2,file.filename=",
                                    "driver=file",
                                    "driver=file,filename=a,locking=x",
                                    "driver=file,filename=a,aio=x",
                                    "driver=file,filename=a,aio=native",
                                    "driver=file,filename=a,pr-manager=x",
                                    "driver=file,filename=a,drop-cache=x",
                                    "driver=file,filename=a,aio-max-batch=x",
                                    "driver=file,filename=/dev/null",
                                    "driver=host_device,filename=a",
                                    "driver=raw,file.filename=a,file.x=1",
                                    "driver=raw,file.filename=a,x=1",
                                    "driver=raw,file.filename=a,offset=x",
                                    "driver=raw,file.filename=a,offset=1M",
                                    "driver=raw,file.filename=a,size=1M",
                                    "driver=raw,file.filename=a,size=100",
                                    "driver=blkdebug",
                                    "driver=blkdebug,image.file.filename=a",
                                    "driver=blkdebug,image.filename=a,align=3",
                                    "driver=blkdebug,image.filename=a,nope=3",
                                    "driver=blkdebug,image.filename=a,inject-error.0.nope=x",
                                    "driver=blkverify,raw.filename=a",
                                    "driver=quorum",
                                    "driver=quorum,children.0.file.filename=a,vote-threshold=2",
                                    "driver=quorum,children.0.file.filename=a,vote-threshold=x",
                                    "driver=quorum,children.0.file.filename=a,vote-threshold=0",
                                    "driver=quorum,children.0.file.filename=a,"
                                    "children.2.file.filename=a,vote-threshold=1",
                                    "driver=throttle,file.filename=a",
                                    "driver=throttle,throttle-group=h,file.filename=a",
                                    "driver=copy-on-read,file.filename=a",
                                    "driver=compress,file.filename=a",
                                    "driver=null-co,latency-ns=-1",
                                    "driver=null-co,nope=1",
                                    "driver=null-co,filename=null-co://",
                                    "driver=qcow2,file.filename=a,discard=x",
                                    "driver=qcow2,file.filename=a,detect-zeroes=x",
                                    "driver=qcow2,file.filename=a,detect-zeroes=unmap",
                                    "driver=qcow2,file.filename=a,read-only=x",
                                    "driver=qcow2,file.filename=a,cache.direct=x",
                                    "driver=qcow2,file.filename=a,node-name=1x",
                                    "driver=qcow2,file.filename=a,node-name=x,file.node-name=x",
                                    "driver=qcow2,file.filename=a,l2-cache-entry-size=3000",
                                    "driver=qcow2,file.filename=a,cache-clean-interval=-1",
                                    "driver=qcow2,file.filename=a,encrypt.format=luks",
                                    "driver=qcow2,file.filename=a.raw"}) {
    expect_same_failure({"info", "--image-opts", options});
  }
}

TEST_F(ImageOptionsTest, BackingFilesAreNodesToo) {
  const std::string json = R"(json:{"driver":"qcow2","file":{"driver":"file","filename":"base"}})";
  for (const std::string name : {"file:base", "blkdebug::base"}) {
    given_image("over", "1M", {"-u", "-b", name, "-F", "qcow2"});
    expect_same_success({"info", "over"});
    expect_same_success({"convert", "over", "out.raw"});
    EXPECT_EQ(read_file("ours/out.raw"), read_file("reference/out.raw")) << name;
  }
  given_image("over", "1M", {"-u", "-b", json, "-F", "qcow2"});
  expect_same_success({"info", "--backing-chain", "over"});
  expect_same_success({"convert", "over", "out.raw"});
  EXPECT_EQ(read_file("ours/out.raw"), read_file("reference/out.raw"));
  for (const std::string name : {"nope:base", "json:{", "none", "file:none"}) {
    given_image("over", "1M", {"-u", "-b", name, "-F", "qcow2"});
    expect_same_success({"info", "over"});
    expect_same_failure({"convert", "over", "out.raw"});
  }
  for (const std::string options :
       {"backing.nope=1", "backing.driver=null-co", "backing.driver=file,backing.filename=a.raw",
        "backing.driver=raw,backing.file.filename=none", "backing.file.driver=null-co"}) {
    expect_same_failure({"convert", "--image-opts", with(options), "out.raw"});
  }
  expect_same_failure(
      {"convert", "--image-opts", "driver=raw,file.filename=a,backing.driver=null-co", "out.raw"});
  expect_same_failure({"map", "--image-opts",
                       "driver=qcow2,file.driver=quorum,file.vote-threshold=1,"
                       "file.children.0.driver=file,file.children.0.filename=a"});
}

}  // namespace
}  // namespace qcowkit::test
