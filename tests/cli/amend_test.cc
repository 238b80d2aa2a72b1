// qcow amend, side by side with the reference.
#include "tests/cli/side_by_side.h"

namespace qcowkit::test {
namespace {

class Amend : public SideBySide {
 protected:
  void expect_amended(const std::string& list, const std::string& name = "a.qcow2") const {
    expect_same_success({"amend", "-o", list, name});
    expect_same_image(name);
    expect_same_content(name);
  }
  void expect_refused(Words arguments) const {
    arguments.insert(arguments.begin(), "amend");
    expect_same_failure(arguments);
  }
};

TEST_F(Amend, Qcow2OptionsAreChanged) {
  given_image("a.qcow2", "4M");
  given_writes("a.qcow2", {"write -P 1 0 1M", "write -z 1M 64k", "discard 128k 64k"});
  for (const std::string list :
       {"size=20M", "size=5M", "lazy_refcounts=on", "lazy_refcounts=off", "lazy_refcounts",
        "compat=0.10", "compat=v3", "compat=1.1,lazy_refcounts=on", "compat=v2",
        "lazy_refcounts=off", "compat=1.1", "refcount_bits=32", "refcount_bits=16", "compat=0.10",
        "data_file_raw=off", "size=6M,compat=1.1", "size=6M,size=7M"}) {
    expect_amended(list);
  }
}

TEST_F(Amend, OptionsOfTheCommandMatch) {
  given_image("a.qcow2", "4M");
  for (const Words& words :
       {Words{"-q", "-o", "size=5M", "a.qcow2"}, Words{"-t", "none", "-o", "size=6M", "a.qcow2"},
        Words{"--force", "-o", "size=7M", "a.qcow2"}, Words{"-qp", "-o", "size=8M", "a.qcow2"},
        Words{"-o", "size=9M", "-o", "lazy_refcounts=on", "a.qcow2"},
        Words{"-f", "qcow2", "-o", "size=10M", "a.qcow2"},
        Words{"--image-opts", "-o", "size=11M", "driver=qcow2,file.filename=a.qcow2"}}) {
    Words arguments = {"amend"};
    arguments.insert(arguments.end(), words.begin(), words.end());
    expect_same_success(arguments);
    expect_same_image("a.qcow2");
  }
}

TEST_F(Amend, SharedClustersSurviveAWiderRefcount) {
  given_image("a.qcow2", "4M");
  given_writes("a.qcow2", {"write -P 1 0 1M"});
  given("a.qcow2", {"snapshot", "-c", "x", "a.qcow2"});
  given_writes("a.qcow2", {"write -P 2 512k 1M"});
  expect_amended("refcount_bits=32");
  // A count of 2 does not fit into one bit.
  EXPECT_EQ(expect_same_outcome({"amend", "-o", "refcount_bits=1", "a.qcow2"}).exit_code, 1);
  expect_same_image("a.qcow2");
}

TEST_F(Amend, DowngradeMakesZeroClustersPlain) {
  given_image("base.qcow2", "1M");
  given_writes("base.qcow2", {"write -P 9 0 1M"});
  given_image("a.qcow2", "1M", {"-b", "base.qcow2", "-F", "qcow2"});
  given_writes("a.qcow2", {"write -z 0 128k", "write -P 1 256k 64k"});
  expect_amended("compat=0.10");
}

TEST_F(Amend, ReferencesToOtherFilesMatch) {
  given_image("base.qcow2", "1M");
  given_image("a.qcow2", "1M", {"-b", "base.qcow2", "-F", "qcow2"});
  expect_amended("backing_file=base.qcow2,backing_fmt=qcow2");
  for (const std::string list : {"backing_file=base.qcow2", "backing_fmt=qcow2",
                                 "backing_file=other,backing_fmt=raw", "backing_file="}) {
    expect_refused({"-o", list, "a.qcow2"});
  }
  given("data.raw", {"create", "-q", "-f", "qcow2", "-o", "data_file=data.raw,data_file_raw=on",
                     "d.qcow2", "1M"});
  given_file("d.qcow2", read_file("reference/d.qcow2"));
  given_file("moved.raw", read_file("reference/data.raw"));
  for (const std::string list : {"data_file_raw=on", "data_file=moved.raw", "data_file_raw=off"}) {
    expect_same_success({"amend", "-o", list, "d.qcow2"});
    EXPECT_EQ(run_both({"info", "d.qcow2"}).ours.out, run_both({"info", "d.qcow2"}).reference.out);
  }
  expect_refused({"-o", "data_file_raw=on", "d.qcow2"});
}

TEST_F(Amend, BadOptionsAreRefused) {
  given_image("a.qcow2", "4M");
  for (const std::string list : {"compat=v4",
                                 "compat=",
                                 "cluster_size=64k",
                                 "preallocation=off",
                                 "extended_l2=on",
                                 "compression_type=zstd",
                                 "encryption=on",
                                 "encrypt.format=luks",
                                 "encrypt.key-secret=x",
                                 "encrypt.state=active",
                                 "encrypt.iter-time=5",
                                 "encrypt.keyslot=x",
                                 "data_file=foo",
                                 "data_file_raw=on",
                                 "backing_file=b",
                                 "nocow=on",
                                 "foo=1",
                                 "",
                                 ",",
                                 "size=1x",
                                 "size=8E",
                                 "size=16E",
                                 "refcount_bits=x",
                                 "lazy_refcounts=x",
                                 "size=1M,foo=3"}) {
    expect_refused({"-o", list, "a.qcow2"});
  }
  for (const std::string list : {"size=1000", "size=7E", "refcount_bits=7", "refcount_bits=128",
                                 "refcount_bits=0", "refcount_bits=8,compat=0.10"}) {
    EXPECT_EQ(expect_same_outcome({"amend", "-o", list, "a.qcow2"}).exit_code, 1) << list;
  }
  expect_same_image("a.qcow2");
  given_image("a.qcow2", "4M", {"-o", "compat=0.10"});
  for (const std::string list : {"lazy_refcounts=on", "refcount_bits=64", "refcount_bits=8"}) {
    EXPECT_EQ(expect_same_outcome({"amend", "-o", list, "a.qcow2"}).exit_code, 1) << list;
  }
  expect_same_image("a.qcow2");
}

TEST_F(Amend, BadArgumentsAreRefused) {
  given_image("a.qcow2", "4M");
  given_file("a.raw", std::string(65536, 'x'));
  for (const Words& words :
       {Words{}, Words{"a.qcow2"}, Words{"-o", "size=1M"}, Words{"-o", "size=1M", "a.qcow2", "b"},
        Words{"-o", "size=1M", "none"}, Words{"-o", "size=1M", "-t", "nonsense", "a.qcow2"},
        Words{"-o", "size=1M", "-f", "nonsense", "a.qcow2"},
        Words{"-o", "size=1M", "--nonsense", "a.qcow2"}, Words{"-o", "size=1M", "a.raw"},
        Words{"-f", "raw", "-o", "foo=1", "a.raw"},
        Words{"--image-opts", "-f", "qcow2", "-o", "size=1M", "driver=qcow2,file.filename=a.qcow2"},
        Words{"-o", "help"}, Words{"-o", "help", "none"}, Words{"-o", "help", "a.raw"},
        Words{"-f", "qcow", "-o", "help"}, Words{"-f", "raw", "-o", "help"},
        Words{"-f", "nonsense", "-o", "help"}}) {
    expect_refused(words);
  }
}

TEST_F(Amend, OptionHelpMatches) {
  given_image("a.qcow2", "4M");
  expect_same_success({"amend", "-o", "help", "a.qcow2"});
  expect_same_success({"amend", "-o", "size=1M,?", "a.qcow2"});
  expect_same_success({"amend", "-f", "qcow2", "-o", "help"});
  expect_same_success({"amend", "-f", "luks", "-o", "help"});
  expect_same_success({"amend", "-f", "qcow2", "-o", "help", "none"});
  expect_same_image("a.qcow2");
}

}  // namespace
}  // namespace qcowkit::test
