// Trees of nodes: how they are written down, and what comes of opening them.
#include "qcowkit/node.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "qcowkit/image.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::error_of;
using test::mentions;

constexpr std::uint64_t kSize = 1 << 20;

std::string list_of(const NodeOptions& node) {
  std::string list;
  for (const auto& [key, value] : node.values()) {
    list += key + '=';
    if (const auto* text = std::get_if<std::string>(&value)) list += *text;
    if (const auto* number = std::get_if<std::int64_t>(&value)) list += std::to_string(*number);
    if (const auto* flag = std::get_if<bool>(&value)) list += *flag ? "true" : "false";
    list += ' ';
  }
  return list;
}

TEST(NodeOptions, NamesStandForTrees) {
  const auto name = [](const char* text, const char* driver = "") {
    return list_of(NodeOptions::from_name(text, driver));
  };
  EXPECT_EQ(name("a"), "file.filename=a ");
  EXPECT_EQ(name("a", "qcow2"), "driver=qcow2 file.filename=a ");
  EXPECT_EQ(name("a", "file"), "driver=file filename=a ");
  EXPECT_EQ(name("file:a"), "file.driver=file file.filename=a ");
  EXPECT_EQ(name("./file:a"), "file.filename=./file:a ");
  EXPECT_EQ(name("null-co://"), "file.driver=null-co ");
  EXPECT_EQ(name("blkdebug:r:a"), "file.config=r file.driver=blkdebug file.image.filename=a ");
  EXPECT_EQ(name("blkdebug::blkdebug::a"),
            "file.driver=blkdebug file.image.driver=blkdebug file.image.image.filename=a ");
  EXPECT_EQ(name("blkverify:r:a"),
            "file.driver=blkverify file.raw.filename=r file.test.file.filename=a ");
  EXPECT_EQ(name("json:{\"driver\":\"raw\"}", "qcow2"), "driver=qcow2 ");
}

TEST(NodeOptions, NamesOfOthersAreRefused) {
  EXPECT_EQ(error_of([] { NodeOptions::from_name("gopher://x"); }).message(),
            "Unknown protocol 'gopher'");
  EXPECT_EQ(error_of([] { NodeOptions::from_name("quorum:x"); }).message(),
            "Unknown protocol 'quorum'");
  EXPECT_EQ(error_of([] { NodeOptions::from_name("a", "nonsense"); }).message(),
            "Unknown driver 'nonsense'");
  std::string name;
  for (int i = 0; i < 100'000; ++i) name += "blkdebug::";
  EXPECT_EQ(error_of([&] { NodeOptions::from_name(name + "a"); }).code(), Errc::limit_exceeded);
}

TEST(NodeOptions, ListsHaveDoubledCommasAndWordsWithoutValues) {
  std::vector<std::string> short_forms;
  const NodeOptions node =
      NodeOptions::from_list("driver=raw,file.filename=a,,b,read-only,noforce-share", &short_forms);
  EXPECT_EQ(list_of(node), "driver=raw file.filename=a,b force-share=off read-only=on ");
  EXPECT_EQ(short_forms, (std::vector<std::string>{"read-only", "noforce-share"}));
  EXPECT_EQ(list_of(NodeOptions::from_list("x")), "file=x ");
}

TEST(NodeOptions, JsonMembersOfMembersAreNamesWithDots) {
  const NodeOptions node = NodeOptions::from_json(
      R"( {'driver':"quorum","n":-3,"b":true,"children":[{"a":{"b":"\u00e9\uD834\uDD1E"}},{}]} )");
  EXPECT_EQ(list_of(node),
            "b=true children.0.a.b=\xc3\xa9\xf0\x9d\x84\x9e children.1= driver=quorum n=-3 ");
  EXPECT_EQ(list_of(NodeOptions::from_json(R"({"a.b":"1","a":{"b":"2"}})")), "a.b=2 ");
  EXPECT_EQ(list_of(NodeOptions::from_json(R"({"a":{"b":"2"},"a.b":"1"})")), "a.b=2 ");
}

TEST(NodeOptions, JsonNestsOnlySoDeep) {
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += "{\"a\":";
  EXPECT_TRUE(mentions(error_of([&] { NodeOptions::from_json(text); }), {"nesting"}));
}

TEST(NodeOptions, ChildrenAreTakenOutAndPutIn) {
  NodeOptions node = NodeOptions::from_list("driver=raw,file.driver=file,file.filename=a");
  EXPECT_EQ(list_of(node.child("file")), "driver=file filename=a ");
  node.set_child("file", NodeOptions::from_list("driver=null-co"));
  EXPECT_EQ(list_of(node), "driver=raw file.driver=null-co ");
  node.remove("file");
  EXPECT_EQ(list_of(node), "driver=raw ");
  node.add_defaults(NodeOptions::from_list("driver=qcow2,size=1"));
  EXPECT_EQ(list_of(node), "driver=raw size=1 ");
}

class OpenNode : public testing::Test {
 protected:
  void SetUp() override {
    make("disk");
    std::filesystem::copy_file(dir_.file("disk"), dir_.file("copy"));
  }
  std::string make(const std::string& name, const std::string& backing_file = {}) {
    CreateOptions options;
    options.format = "qcow2";
    options.size_bytes = kSize;
    options.cache = CacheMode::unsafe;
    options.backing_file = backing_file;
    options.open_backing = false;
    Image::create(dir_.file(name), options);
    if (!backing_file.empty()) return dir_.file(name);
    const auto image = Image::open(dir_.file(name), writable());
    image->write(0, test::make_content(3, kSize));
    image->close();
    return dir_.file(name);
  }
  void make_raw() const {
    const auto file = open_file(dir_.file("raw"), {.create = true});
    file->write(0, test::make_content(3, kSize));
    file->close();
  }
  static OpenOptions writable() {
    OpenOptions options;
    options.read_only = false;
    options.cache = CacheMode::unsafe;
    return options;
  }
  /// '@' in the list stands for the directory.
  std::unique_ptr<Image> open(std::string list, const OpenOptions& options = {}) const {
    for (std::size_t at = 0; (at = list.find('@', at)) != list.npos;) {
      list.replace(at, 1, dir_.path().string() + "/");
    }
    return Image::open(NodeOptions::from_list(list), options);
  }
  void expect_content(Image& image) const {
    std::vector<std::byte> bytes(kSize);
    image.read(0, bytes);
    EXPECT_TRUE(bytes == test::make_content(3, kSize));
  }

  const test::TempDir dir_;
};

TEST_F(OpenNode, FormatsLieInFiltersAndFiltersInFormats) {
  for (const std::string list :
       {"file.filename=@disk", "driver=qcow2,file.driver=file,file.filename=@disk",
        "driver=raw,file.driver=qcow2,file.file.filename=@disk",
        "driver=qcow2,file.driver=raw,file.file.filename=@disk",
        "driver=qcow2,file.driver=blkdebug,file.image.filename=@disk",
        "driver=blkdebug,image.driver=qcow2,image.file.filename=@disk",
        "driver=quorum,vote-threshold=2,children.0.file.filename=@disk,"
        "children.1.file.filename=@copy",
        "driver=qcow2,file.driver=quorum,file.vote-threshold=1,file.children.0.driver=file,"
        "file.children.0.filename=@disk",
        "driver=blkverify,test.file.filename=@disk,raw.driver=qcow2,raw.file.filename=@copy",
        "driver=qcow2,file.driver=preallocate,file.file.filename=@disk"}) {
    SCOPED_TRACE(list);
    const auto image = open(list);
    EXPECT_TRUE(image->is_read_only());
    expect_content(*image);
    image->close();
  }
}

TEST_F(OpenNode, WritesReachTheFileThroughEveryNode) {
  for (const std::string list :
       {"driver=throttle,throttle-group=g,file.driver=qcow2,file.file.filename=@disk",
        "driver=copy-on-read,file.driver=qcow2,file.file.filename=@disk",
        "driver=compress,file.driver=qcow2,file.file.filename=@disk",
        "driver=raw,offset=512,size=64k,file.driver=qcow2,file.file.filename=@disk"}) {
    SCOPED_TRACE(list);
    OpenOptions options = writable();
    NodeObjects objects;
    objects.throttle_groups["g"] = std::make_shared<ThrottleGroup>("g", ThrottleLimits{});
    options.objects = std::make_shared<const NodeObjects>(objects);
    const auto image = open(list, options);
    const auto content = test::make_content(list.size(), 4096);
    image->write(0, content);
    image->close();
    std::vector<std::byte> bytes(4096);
    Image::open(dir_.file("disk"))->read(list.starts_with("driver=raw") ? 512 : 0, bytes);
    EXPECT_TRUE(bytes == content);
  }
}

TEST_F(OpenNode, NamesAreShownAsShortAsTheyCanBe) {
  EXPECT_EQ(open("file.filename=@disk")->filename(), dir_.file("disk"));
  EXPECT_EQ(open("driver=blkdebug,image.filename=@disk")->filename(),
            "blkdebug::" + dir_.file("disk"));
  EXPECT_EQ(open("driver=null-co")->filename(), "null-co://");
  EXPECT_EQ(open("driver=null-co,size=1M")->filename(),
            R"(json:{"driver": "null-co", "size": "1M"})");
  EXPECT_EQ(open("driver=null-co")->format(), "null-co");
}

TEST_F(OpenNode, NestsOnlySoDeep) {
  NodeOptions node = NodeOptions::from_list("driver=null-co");
  for (int i = 0; i < 30; ++i) {
    NodeOptions above = NodeOptions::from_list("driver=raw");
    above.set_child("file", node);
    node = above;
  }
  Image::open(node)->close();
  for (int i = 0; i < 200; ++i) {
    NodeOptions above = NodeOptions::from_list("driver=raw");
    above.set_child("file", node);
    node = above;
  }
  EXPECT_EQ(error_of([&] { Image::open(node); }).code(), Errc::limit_exceeded);
}

TEST_F(OpenNode, ReferencesOfImagesAreAskedAboutWhateverTheirDriver) {
  const std::string path = dir_.file("disk");
  for (const std::string& name :
       {"json:{\"driver\":\"qcow2\",\"file.filename\":\"" + path + "\"}", "blkdebug::" + path,
        "blkverify:" + path + ":" + path, "blkdebug:" + path + ":null-co://",
        std::string("null-co://"), "file:" + path}) {
    SCOPED_TRACE(name);
    const std::string top = make("top", name);
    OpenOptions options;
    options.references = References::none();
    EXPECT_EQ(error_of([&] { Image::open(top, options); }).code(), Errc::reference_refused);
  }
}

TEST_F(OpenNode, ChainsThatComeBackInsideAFilterAreFound) {
  const std::string path = dir_.file("top");
  for (const std::string& name :
       {"blkdebug::" + path, "json:{\"driver\":\"qcow2\",\"file.filename\":\"" + path + "\"}",
        "json:{\"driver\":\"quorum\",\"vote-threshold\":1,\"children\":[{\"driver\":\"qcow2\","
        "\"file.filename\":\"" +
            path + "\"}]}"}) {
    SCOPED_TRACE(name);
    make("top", name);
    const Error error = error_of([&] { Image::open(path); });
    EXPECT_EQ(error.code(), Errc::corrupt) << error.message();
  }
}

TEST_F(OpenNode, ChildrenWithChainsOfTheirOwnDoNotMultiply) {
  // Each layer is asked for twice by the one above it: two to the power of forty in all.
  std::string below = dir_.file("disk");
  for (int i = 0; i < 40; ++i) {
    const std::string child = R"({"driver":"qcow2","file.filename":")" + below + "\"}";
    below = make(
        "layer" + std::to_string(i),
        R"(json:{"driver":"quorum","vote-threshold":1,"children":[)" + child + "," + child + "]}");
  }
  OpenOptions options;
  std::size_t asked = 0;
  options.references.allow = [&](const std::string&) { return ++asked < 100'000; };
  EXPECT_EQ(error_of([&] { Image::open(below, options); }).code(), Errc::limit_exceeded);
}

TEST_F(OpenNode, IsOpenedAnewWithOtherOptions) {
  const auto image = open("driver=qcow2,file.filename=@disk");
  EXPECT_EQ(error_of([&] { image->write(0, test::make_content(9, 512)); }).code(), Errc::read_only);
  OpenOptions options = image->open_options();
  options.read_only = false;
  image->reopen(NodeOptions::from_list("discard=ignore"), options);
  image->discard(0, kSize);
  expect_content(*image);
  EXPECT_EQ(error_of([&] { image->reopen(NodeOptions::from_list("nonsense=1"), options); }).code(),
            Errc::invalid_argument);
  expect_content(*image);
  image->reopen(true);
  EXPECT_TRUE(image->is_read_only());
  expect_content(*image);
}

TEST_F(OpenNode, DiscardsAreIgnoredByTheFileAloneIfItSaysSo) {
  make_raw();
  const auto image = open("driver=raw,file.filename=@raw,file.discard=ignore", writable());
  image->storage().discard(0, kSize);
  expect_content(*image);
}

TEST_F(OpenNode, TheFileAloneDetectsZeroesIfItSaysSo) {
  make_raw();
  const std::string options = "driver=raw,file.filename=@raw,file.detect-zeroes=";
  open(options + "off", writable())->write(0, std::vector<std::byte>(kSize));
  EXPECT_EQ(open("driver=raw,file.filename=@raw")->map(0, kSize).kind, ExtentKind::data);
  open(options + "unmap", writable())->write(0, std::vector<std::byte>(kSize));
  EXPECT_EQ(open("driver=raw,file.filename=@raw")->map(0, kSize).kind, ExtentKind::zero);
}

TEST_F(OpenNode, ZeroesAreDetectedAndDiscardsIgnoredAsAsked) {
  const auto image =
      open("driver=qcow2,file.filename=@disk,detect-zeroes=unmap,discard=unmap", writable());
  image->write(0, std::vector<std::byte>(65536));
  EXPECT_EQ(image->map(0, 65536).kind, ExtentKind::zero);
  EXPECT_EQ(error_of([&] {
              open("driver=qcow2,file.filename=@disk,detect-zeroes=unmap,discard=ignore");
            }).code(),
            Errc::invalid_argument);
}

}  // namespace
}  // namespace qcowkit
