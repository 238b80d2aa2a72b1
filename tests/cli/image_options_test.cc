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

}  // namespace
}  // namespace qcowkit::test
