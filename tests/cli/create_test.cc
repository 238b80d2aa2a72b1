// qcow create, side by side with the reference.
#include "tests/cli/conformance.h"

namespace qcowkit::test {
namespace {

class Create : public Conformance {
 protected:
  /// Both make the same image of it: what they print, and what the reference then finds in it.
  void expect_same_image(Words arguments, const std::string& name) const {
    arguments.insert(arguments.begin(), "create");
    expect_same(arguments);
    const auto describe = [&] {
      return run({"qemu-img", "info", file(name)}).out + run({"qemu-img", "check", file(name)}).out;
    };
    ASSERT_TRUE(qcow(arguments).ok()) << joined(arguments);
    const std::string ours = describe();
    qemu_img(arguments);
    EXPECT_EQ(without_disk_size(ours), without_disk_size(describe())) << joined(arguments);
  }

  void expect_same_failure(Words arguments) const {
    arguments.insert(arguments.begin(), "create");
    EXPECT_NE(qcow(arguments).exit_code, 0) << joined(arguments);
    expect_same(arguments);
  }

 private:
  /// How much of the metadata is written or left as holes is up to each program.
  static std::string without_disk_size(std::string text) {
    const std::size_t begin = text.find("disk size:");
    if (begin != text.npos) text.erase(begin, text.find('\n', begin) - begin);
    return text;
  }
};

TEST_F(Create, Qcow2WithEachOptionMatches) {
  const Words lists = {
      "cluster_size=128k",
      "cluster_size=512",
      "cluster_size=2M,compat=v3",
      "compat=0.10",
      "compat=v2,cluster_size=4k",
      "compat=1.1",
      "lazy_refcounts=on",
      "lazy_refcounts=yes",
      "lazy_refcounts",
      "nolazy_refcounts",
      "extended_l2=y",
      "extended_l2=true,cluster_size=16k",
      "refcount_bits=1",
      "refcount_bits=0x40",
      "compression_type=zstd",
      "compression_type=zlib,compat=0.10",
      "preallocation=off",
      "preallocation=metadata",
      "preallocation=falloc",
      "preallocation=full",
      "nocow=on",
      "nocow=off",
      "extent_size_hint=1M",
      "cluster_size=64k,cluster_size=32k",
      "encryption=off",
  };
  for (const std::string& list : lists) {
    expect_same_image({"-f", "qcow2", "-o", list, file("a.qcow2"), "4M"}, "a.qcow2");
  }
}

TEST_F(Create, SeveralOptionListsAddUp) {
  expect_same_image(
      {"-f", "qcow2", "-o", "cluster_size=4k", "-o", "compat=0.10,size=3M", file("a.qcow2")},
      "a.qcow2");
}

TEST_F(Create, SizesMatch) {
  for (const std::string size : {"0", "1", "512", "513", "1000", "1.5M", "0x1000", "1b", "1B", "1K",
                                 "3m", "1t", "010", "5.k", "0.1k", "+1M", " 1M"}) {
    expect_same_image({"-f", "qcow2", file("a.qcow2"), size}, "a.qcow2");
  }
  for (const std::string size : {"0", "1000", "1M"}) {
    expect_same_image({"-f", "raw", file("a.raw"), size}, "a.raw");
  }
}

TEST_F(Create, BadSizesAreRefused) {
  for (const std::string size : {"1x", "1.5", "8E", "16E", "9223372036854775808", "1M ", "", "1KB",
                                 "1KiB", "1e3", ".5k", "nan", "inf", "-1", "-1k"}) {
    expect_same_failure({"-f", "qcow2", "--", file("a.qcow2"), size});
  }
  expect_same_failure({"-f", "qcow2", file("a.qcow2"), "7E"});
  expect_same_failure({"-f", "qcow2", file("a.qcow2"), "9223372036854775807"});
  expect_same_failure({"-f", "raw", file("a.raw"), "7E"});
}

TEST_F(Create, RawImagesMatch) {
  for (const std::string list : {"preallocation=off", "preallocation=falloc", "preallocation=full",
                                 "nocow=on", "extent_size_hint=1M"}) {
    expect_same_image({"-o", list, file("a.raw"), "1M"}, "a.raw");
    EXPECT_EQ(read_file("a.raw"), std::string(1 << 20, '\0')) << list;
  }
}

TEST_F(Create, BadOptionsAreRefused) {
  for (const std::string list : {"compat=1.2",
                                 "compat=2",
                                 "compat=",
                                 "lazy_refcounts=1",
                                 "lazy_refcounts=ON",
                                 "lazy_refcounts=",
                                 "lazy_refcounts=on,compat=0.10",
                                 "refcount_bits=3",
                                 "refcount_bits=128",
                                 "refcount_bits=0",
                                 "refcount_bits=x",
                                 "refcount_bits=8k",
                                 "refcount_bits=08",
                                 "refcount_bits=64,compat=0.10",
                                 "extended_l2=on,cluster_size=4k",
                                 "extended_l2=on,compat=0.10",
                                 "compression_type=ZSTD",
                                 "compression_type=lz4",
                                 "compression_type=zstd,compat=0.10",
                                 "cluster_size=256",
                                 "cluster_size=3000",
                                 "cluster_size=4M",
                                 "cluster_size=0",
                                 "cluster_size=-1",
                                 "cluster_size=1.5k",
                                 "cluster_size=",
                                 "cluster_size=abc",
                                 "cluster_size=64kb",
                                 "cluster_size",
                                 "nocluster_size",
                                 "cluster_size = 64k",
                                 "preallocation=foo",
                                 "preallocation=",
                                 "foo=on",
                                 "foo",
                                 "nofoo",
                                 "",
                                 ",",
                                 "cluster_size=64k,",
                                 ",cluster_size=64k",
                                 "cluster_size=64k,,",
                                 "=on",
                                 "no",
                                 "64k",
                                 "data_file_raw=on",
                                 "data_file=",
                                 "data_file=x,compat=0.10",
                                 "size=1x",
                                 "size=16E",
                                 "size=2M",
                                 "backing_fmt=raw",
                                 "backing_file=,backing_fmt=raw",
                                 "help=on"}) {
    expect_same_failure({"-f", "qcow2", "-o", list, file("a.qcow2"), "1M"});
  }
  for (const std::string list : {"preallocation=metadata", "cluster_size=64k", "compat=1.1"}) {
    expect_same_failure({"-o", list, file("a.raw"), "1M"});
  }
}

TEST_F(Create, MissingAndSurplusArgumentsAreRefused) {
  expect_same_failure({});
  expect_same_failure({"-f", "qcow2"});
  expect_same_failure({"-f", "qcow2", file("a.qcow2")});
  expect_same_failure({"-f", "qcow2", file("a.qcow2"), "1M", "extra"});
  expect_same_failure({"-f", "nonsense", file("a.qcow2"), "1M"});
  expect_same_failure({"-f", "qcow2", file("no/such/directory"), "1M"});
  expect_same_failure({"-f", "qcow2", directory_.path().string(), "1M"});
  expect_same_failure({"-f", "qcow2", "unknown:" + file("a.qcow2"), "1M"});
}

TEST_F(Create, BackingFilesMatch) {
  create("base.qcow2", "3M");
  write_file("base.raw", std::string(1000, 'x'));
  const std::string overlay = file("o.qcow2");
  const auto same = [&](Words options, Words size = {}) {
    options.insert(options.begin(), {"-f", "qcow2"});
    options.push_back(overlay);
    options.insert(options.end(), size.begin(), size.end());
    expect_same_image(options, "o.qcow2");
  };
  same({"-b", "base.qcow2", "-F", "qcow2"});
  same({"-b", file("base.qcow2"), "-F", "qcow2"}, {"5M"});
  same({"-b", "base.qcow2", "-F", "qcow2"}, {"1M"});
  same({"-b", "base.raw", "-F", "raw"});
  same({"-b", "base.qcow2", "-F", "raw"});
  same({"-o", "backing_file=base.qcow2,backing_fmt=qcow2,compat=0.10"});
  same({"-o", "backing_file=none", "-b", "base.qcow2", "-F", "qcow2"});
  same({"-b", "base.raw", "-b", "base.qcow2", "-F", "raw", "-F", "qcow2"});
  same({"-o", "extended_l2=on,preallocation=metadata", "-b", "base.qcow2", "-F", "qcow2"});
}

TEST_F(Create, UnsafeBackingFilesAreNotLookedAt) {
  expect_same({"create", "-u", "-f", "qcow2", "-b", "none", "-F", "raw", file("o.qcow2"), "1M"});
  expect_same({"create", "-u", "-f", "qcow2", "-b", "a,b", "-F", "raw", file("o.qcow2"), "1M"});
  expect_same({"create", "-u", "-f", "qcow2", "-o", "backing_file=a,,b", "-F", "raw",
               file("o.qcow2"), "1M"});
  expect_same({"create", "-u", "-f", "qcow2", file("o.qcow2"), "1M"});
}

TEST_F(Create, BadBackingFilesAreRefused) {
  create("base.qcow2", "3M");
  write_file("base.raw", std::string(1000, 'x'));
  create("broken.qcow2", "1M", {"-u", "-b", "none", "-F", "raw"});
  const std::string overlay = file("o.qcow2");
  expect_same_failure({"-f", "qcow2", "-b", "base.qcow2", overlay});
  expect_same_failure({"-f", "qcow2", "-b", "base.raw", overlay, "1M"});
  expect_same_failure({"-f", "qcow2", "-u", "-b", "base.qcow2", overlay, "1M"});
  expect_same_failure({"-f", "qcow2", "-u", "-b", "none", "-F", "raw", overlay});
  expect_same_failure({"-f", "qcow2", "-b", "base.qcow2", "-F", "nonsense", overlay});
  expect_same_failure({"-f", "qcow2", "-u", "-b", "base.qcow2", "-F", "nonsense", overlay, "1M"});
  expect_same_failure({"-f", "qcow2", "-b", "base.raw", "-F", "qcow2", overlay});
  expect_same_failure({"-f", "qcow2", "-b", "none", "-F", "raw", overlay, "1M"});
  expect_same_failure({"-f", "qcow2", "-b", "broken.qcow2", "-F", "qcow2", overlay});
  expect_same_failure({"-f", "qcow2", "-F", "qcow2", overlay, "1M"});
  expect_same_failure({"-f", "qcow2", "-b", "", overlay, "1M"});
  expect_same_failure({"-f", "qcow2", "-b", overlay, "-F", "qcow2", overlay, "1M"});
  expect_same_failure({"-f", "raw", "-b", "base.qcow2", "-F", "qcow2", overlay});
  expect_same_failure({"-f", "raw", "-F", "qcow2", overlay, "1M"});
  expect_same_failure(
      {"-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "-o", "preallocation=full", overlay});
  expect_same_failure({"-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "-o",
                       "data_file=d,data_file_raw=on", overlay});
}

TEST_F(Create, ExternalDataFilesMatch) {
  const std::string data = file("data.raw");
  expect_same_image({"-f", "qcow2", "-o", "data_file=" + data, file("a.qcow2"), "1M"}, "a.qcow2");
  expect_same_image(
      {"-f", "qcow2", "-o", "data_file_raw=on,data_file=" + data, file("a.qcow2"), "1M"},
      "a.qcow2");
}

TEST_F(Create, QuietPrintsNothing) {
  expect_same({"create", "-q", "-f", "qcow2", file("a.qcow2"), "1M"});
  expect_same({"create", file("a.raw"), "1M", "-q"});
}

// The list differs in what only the tool has.
TEST_F(Create, OptionHelpListsWhatTheReferenceLists) {
  for (const Words& words :
       {Words{"create", "-f", "qcow2", "-o", "help"},
        Words{"create", "-f", "qcow2", "-o", "cluster_size=1k,?", file("a"), "1M"},
        Words{"create", "-f", "qcow", "-o", "help"}, Words{"create", "-f", "luks", "-o", "help"},
        Words{"create", "-f", "luks", "-o", "help", file("a.luks")},
        Words{"create", "-f", "qcow", "-o", "help", file("a.qcow")}, Words{"create", "-o", "help"},
        Words{"create", "-o", "help", file("a.raw")}}) {
    Words reference_words = words;
    reference_words.insert(reference_words.begin(), "qemu-img");
    const CommandResult reference = run(reference_words);
    const CommandResult ours = qcow(words);
    EXPECT_EQ(ours.exit_code, reference.exit_code);
    std::string list;
    std::istringstream lines(ours.out);
    for (std::string line; std::getline(lines, line);) {
      if (line.find("compression_level=") == line.npos) list += line + "\n";
    }
    EXPECT_EQ(list, reference.out) << joined(words);
  }
}

TEST_F(Create, SecretsAreCheckedWhereNothingNeedsThem) {
  write_file("secret", "cGFzcw==");
  const auto with = [&](const Words& objects) {
    Words words = {"create"};
    for (const std::string& object : objects) words.insert(words.end(), {"--object", object});
    words.insert(words.end(), {file("a.raw"), "1M"});
    return words;
  };
  expect_same(with({"secret,id=a,data=b"}));
  expect_same(with({"secret,id=a,format=base64,file=" + file("secret")}));
  expect_same(with({R"({"qom-type":"secret","id":"a","data":"x"})"}));
  expect_same(with({"nonsense,id=a"}));
  expect_same(with({"secret,data=a"}));
  expect_same(with({"secret,id=a"}));
  expect_same(with({"secret,id=a,data=b,foo=c"}));
  expect_same(with({"secret,id=a,data=b", "secret,id=a,data=b"}));
  expect_same(with({"secret,id=a,file=" + file("none")}));
  expect_same(with({"secret,id=a,data=b!,format=base64"}));
}

}  // namespace
}  // namespace qcowkit::test
