// Encrypted images and their secrets, side by side with the reference.
#include "tests/cli/side_by_side.h"
#include "tests/support/tool.h"

namespace qcowkit::test {
namespace {

const Words kSecrets = {"--object", "secret,id=s,data=pass", "--object", "secret,id=other,data=no"};

/// `name` with the options that open it.
std::string opened(const std::string& driver, const std::string& name,
                   const std::string& secret = "s") {
  const std::string prefix = driver == "luks" ? "" : "encrypt.";
  return "driver=" + driver + "," + prefix + "key-secret=" + secret + ",file.filename=" + name;
}

struct Kind {
  std::string format;
  std::string options;
};

/// One of each kind; passphrases are made cheap to check. It takes the reference seconds to make
/// one that is encrypted with LUKS.
const std::vector<Kind> kKinds = {
    {"qcow2", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"},
    {"qcow2", "encryption=on,encrypt.key-secret=s"},
    {"qcow2", "encrypt.format=aes,encrypt.key-secret=s,compat=0.10"},
    {"qcow2",
     "encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,"
     "encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256,encrypt.hash-alg=sha1,encrypt.iter-"
     "time="
     "10,cluster_size=4k"},
    {"qcow", "encryption=on,encrypt.key-secret=s"},
    {"qcow", "encrypt.format=aes,encrypt.key-secret=s"},
    {"luks", "key-secret=s,iter-time=10"},
    {"luks", "key-secret=s,iter-time=10,cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=plain"},
};

bool is_luks(const Kind& kind) {
  return kind.format == "luks" || kind.options.find("luks") != std::string::npos;
}

class Encryption : public SideBySide {
 protected:
  static Words with_secrets(const std::string& command, const Words& arguments) {
    Words words = {command};
    words.insert(words.end(), kSecrets.begin(), kSecrets.end());
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
  }
  /// Lets the tool make an image with some data that both then have a copy of.
  void given_encrypted(const Kind& kind, const std::string& name) const {
    const std::string content = std::string(100000, 'a') + std::string(200000, '\0') + "the end";
    write_file("ours/plain.raw", content);
    write_file("reference/plain.raw", content);
    Words words = with_secrets(
        "convert", {"-f", "raw", "-O", kind.format, "-o", kind.options, "plain.raw", name});
    words.insert(words.begin(), test::tool());
    const CommandResult result = run_in("ours", words);
    ASSERT_TRUE(result.ok()) << joined(words) << result.err;
    // Written anew, so that both occupy the same space.
    const std::string bytes = read_file("ours/" + name);
    write_file("ours/" + name, bytes);
    write_file("reference/" + name, bytes);
  }
  /// What differs from one volume to the next is left out.
  static std::string without_chance(const std::string& text) {
    static const std::regex kChance("((uuid|iters)\"?: )[^,\n]*");
    return std::regex_replace(text, kChance, "$1...");
  }
};

TEST_F(Encryption, NewImagesMatch) {
  for (const Kind& kind : {kKinds[0], kKinds[1], kKinds[2], kKinds[4], kKinds[5]}) {
    const Words create =
        with_secrets("create", {"-f", kind.format, "-o", kind.options, "a", "10M"});
    expect_same_success(create);
    for (const Words& form : {Words{}, Words{"--output=json"}}) {
      Words info = {"info", "a"};
      info.insert(info.end(), form.begin(), form.end());
      const auto [reference, ours] = run_both(info);
      const std::string expected = masked_with_sizes(reference.out);
      EXPECT_EQ(without_newer_keys(masked_with_sizes(ours.out), expected), expected)
          << kind.options;
      EXPECT_EQ(ours.exit_code, 0) << ours.err;
    }
    const std::string all = opened(kind.format, "a");
    const Words compare = with_secrets("compare", {"--image-opts", all, all});
    EXPECT_EQ(expect_same_words(compare).exit_code, 0);
  }
}

TEST_F(Encryption, ContentSurvivesBothWays) {
  for (const Kind& kind : kKinds) {
    given_encrypted(kind, "a");
    const Words out =
        with_secrets("convert", {"--image-opts", "-O", "raw", opened(kind.format, "a"), "out.raw"});
    EXPECT_EQ(expect_same_words(out).exit_code, 0);
    EXPECT_EQ(read_file("ours/out.raw"), read_file("reference/out.raw")) << kind.options;

    // And what the reference has encrypted.
    if (is_luks(kind)) continue;
    const Words in = with_secrets(
        "convert", {"-f", "raw", "-O", kind.format, "-o", kind.options, "plain.raw", "b"});
    expect_same_success(in);
    write_file("ours/b", read_file("reference/b"));
    const Words compare = with_secrets(
        "compare",
        {"--image-opts", "driver=raw,file.filename=plain.raw", opened(kind.format, "b")});
    EXPECT_EQ(expect_same_words(compare).exit_code, 0) << kind.options;
  }
}

TEST_F(Encryption, ExistingTargetsAreWrittenOver) {
  for (const Kind& kind : {kKinds[0], kKinds[1], kKinds[6]}) {
    given_encrypted(kind, "a");
    const std::string other(300032, 'o');
    write_file("ours/plain.raw", other);
    write_file("reference/plain.raw", other);
    const Words words =
        with_secrets("convert", {"-n", "--image-opts", "--target-image-opts",
                                 "driver=raw,file.filename=plain.raw", opened(kind.format, "a")});
    EXPECT_EQ(expect_same_words(words).exit_code, 0);
    const Words out =
        with_secrets("convert", {"--image-opts", "-O", "raw", opened(kind.format, "a"), "out.raw"});
    EXPECT_EQ(expect_same_words(out).exit_code, 0);
    EXPECT_EQ(read_file("ours/out.raw"), read_file("reference/out.raw"));
  }
}

TEST_F(Encryption, NothingButInfoGoesWithoutASecret) {
  for (const Kind& kind : {kKinds[0], kKinds[1], kKinds[4], kKinds[6]}) {
    given_encrypted(kind, "a");
    for (const Words& words :
         {Words{"check", "a"}, Words{"map", "a"}, Words{"map", "--output=json", "a"},
          Words{"convert", "a", "out.raw"}, Words{"compare", "a", "plain.raw"},
          Words{"compare", "plain.raw", "a"}, Words{"measure", "-O", "qcow2", "a"},
          Words{"resize", "a", "20M"}, Words{"snapshot", "-l", "a"},
          Words{"snapshot", "-c", "x", "a"}, Words{"amend", "-o", "size=20M", "a"},
          Words{"bitmap", "--add", "a", "x"}}) {
      expect_same_failure(words);
    }
    for (const std::string secret : {"other", "none"}) {
      const std::string name = opened(kind.format, "a", secret);
      const CommandResult result =
          expect_same_outcome(with_secrets("convert", {"--image-opts", name, "out.raw"}));
      // The old method takes any passphrase.
      EXPECT_EQ(result.exit_code, secret == "other" && !is_luks(kind) ? 0 : 1) << name;
      expect_same_success(with_secrets("info", {"--image-opts", name}));
    }
    expect_same_success({"info", "a"});
    expect_same_success({"info", "--output=json", "a"});
    expect_same_success(with_secrets("info", {"--image-opts", opened(kind.format, "a")}));
    expect_same_success(
        with_secrets("info", {"--output=json", "--image-opts", opened(kind.format, "a")}));
  }
}

TEST_F(Encryption, MetadataIsReadWithASecret) {
  for (const Kind& kind : {kKinds[0], kKinds[1], kKinds[4], kKinds[6]}) {
    given_encrypted(kind, "a");
    const std::string name = opened(kind.format, "a");
    for (const Words& words : {Words{"check"}, Words{"map", "--output=json"},
                               Words{"measure", "-O", "raw"}, Words{"snapshot", "-l"}}) {
      Words arguments = with_secrets(words[0], Words(words.begin() + 1, words.end()));
      arguments.insert(arguments.end(), {"--image-opts", name});
      if (words[0] == "check" || words[0] == "map") {
        expect_same_outcome(arguments);
      } else {
        expect_same_words(arguments);
      }
    }
  }
}

TEST_F(Encryption, BackingFilesHaveSecretsOfTheirOwn) {
  given_encrypted(kKinds[0], "base");
  given_image("top", "300032", {"-u", "-b", "base", "-F", "qcow2"});
  expect_same_failure({"convert", "top", "out.raw"});
  const std::string name = "driver=qcow2,backing.encrypt.key-secret=s,file.filename=top";
  expect_same_success(with_secrets("convert", {"--image-opts", name, "out.raw"}));
  EXPECT_EQ(read_file("ours/out.raw"), read_file("reference/out.raw"));
  const std::string json =
      R"(json:{"driver":"qcow2","backing":{"driver":"qcow2","encrypt":{"key-secret":"s"}},)"
      R"("file":{"driver":"file","filename":"top"}})";
  expect_same_success(with_secrets("convert", {json, "out.raw"}));
  EXPECT_EQ(read_file("ours/out.raw"), read_file("reference/out.raw"));
}

TEST_F(Encryption, BadOptionsAreRefused) {
  const auto refused = [&](const std::string& format, const std::string& list) {
    const CommandResult result =
        expect_same_words(with_secrets("create", {"-f", format, "-o", list, "a", "10M"}));
    EXPECT_EQ(result.exit_code, 1) << list;
  };
  for (const std::string list :
       {"encryption=on,encrypt.format=luks,encrypt.key-secret=s",
        "encryption=off,encrypt.key-secret=s", "encrypt.key-secret=s", "encrypt.format=luks",
        "encryption=on", "encrypt.format=aes", "encrypt.format=luks,encrypt.key-secret=none",
        "encrypt.format=nonsense,encrypt.key-secret=s",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=x",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.nonsense=x",
        "encrypt.format=aes,encrypt.key-secret=s,encrypt.cipher-alg=aes-128",
        "encrypt.cipher-alg=aes-128"}) {
    refused("qcow2", list);
  }
  for (const std::string option : {"cipher-alg", "cipher-mode", "ivgen-alg", "hash-alg"}) {
    const std::string list =
        "encrypt.format=luks,encrypt.key-secret=s,encrypt." + option + "=nonsense";
    expect_same_outcome(with_secrets("create", {"-f", "qcow2", "-o", list, "a", "10M"}));
    expect_same_outcome(with_secrets(
        "create", {"-f", "luks", "-o", "key-secret=s," + option + "=nonsense", "a", "10M"}));
  }
  for (const std::string list : {"encrypt.format=luks,encrypt.key-secret=s", "encryption=on",
                                 "cluster_size=4k", "encrypt.key-secret=s"}) {
    refused("qcow", list);
  }
  for (const std::string list : {"iter-time=10", "key-secret=none", "encrypt.key-secret=s",
                                 "key-secret=s,backing_file=b", "detached-header=true"}) {
    refused("luks", list);
  }
}

TEST_F(Encryption, WhatConvertCannotDoIsRefused) {
  given_file("plain.raw", std::string(65536, 'x'));
  for (const Words& words :
       {Words{"-c", "-O", "qcow2", "-o", kKinds[0].options, "plain.raw", "out"},
        Words{"-c", "-O", "qcow2", "-o", kKinds[1].options, "plain.raw", "out"},
        Words{"-c", "-O", "luks", "-o", kKinds[6].options, "plain.raw", "out"},
        Words{"-O", "qcow2", "-o", "encrypt.format=luks", "plain.raw", "out"},
        Words{"-O", "luks", "plain.raw", "out"},
        Words{"-B", "plain.raw", "-F", "raw", "-O", "luks", "-o", kKinds[6].options, "plain.raw",
              "out"}}) {
    EXPECT_EQ(expect_same_words(with_secrets("convert", words)).exit_code, 1) << joined(words);
  }
}

TEST_F(Encryption, ExpectedMethodMustBeTheImages) {
  given_encrypted(kKinds[1], "a");
  given_image("plain", "1M");
  for (const std::string name :
       {"driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,file.filename=a",
        "driver=qcow2,encrypt.format=aes,file.filename=plain",
        "driver=qcow2,encrypt.format=nonsense,file.filename=a"}) {
    expect_same_failure(with_secrets("convert", {"--image-opts", name, "out.raw"}));
    expect_same_failure(with_secrets("info", {"--image-opts", name}));
  }
  expect_same_failure(with_secrets(
      "convert", {"--image-opts", "driver=qcow2,encrypt.format=aes,file.filename=a", "out.raw"}));
  expect_same_success(with_secrets(
      "convert",
      {"--image-opts", "driver=qcow2,encrypt.format=aes,encrypt.key-secret=s,file.filename=a",
       "out.raw"}));
}

TEST_F(Encryption, SizesWithTheVolumesHeaderMatch) {
  for (const Words& words :
       {Words{"-O", "qcow2", "-o", "encrypt.format=luks", "--size", "10M"},
        Words{"-O", "qcow2", "-o", "encryption=on", "--size", "10M"},
        Words{"-O", "qcow2", "-o", "encrypt.format=aes", "--size", "10M"},
        Words{"-O", "luks", "--size", "10M"}, Words{"-O", "qcow", "--size", "10M"}}) {
    expect_same_words(with_secrets("measure", words));
  }
  // The reference makes a whole volume to tell its size, which takes seconds. This is what it says.
  struct Case {
    std::string format;
    std::string options;
    std::string size;
    std::string expected;
  };
  const std::vector<Case> cases = {
      {"qcow2", "encrypt.format=luks,encrypt.key-secret=s", "10M",
       "required size: 2424832\nfully allocated size: 12910592\n"},
      {"qcow2", "encrypt.format=luks,encrypt.key-secret=s,cluster_size=4k", "1G",
       "required size: 4706304\nfully allocated size: 1078448128\n"},
      {"qcow2", "encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=aes-128", "1G",
       "required size: 1507328\nfully allocated size: 1075249152\n"},
      {"luks", "key-secret=s", "10M", "required size: 12554240\nfully allocated size: 12554240\n"},
      {"luks", "key-secret=s,iter-time=10,cipher-alg=aes-128", "10M",
       "required size: 11538432\nfully allocated size: 11538432\n"},
  };
  for (const Case& c : cases) {
    Words words = with_secrets("measure", {"-O", c.format, "-o", c.options, "--size", c.size});
    EXPECT_EQ(qcow(words).out, c.expected) << c.options;
  }
}

TEST_F(Encryption, PassphrasesAreAddedAndErased) {
  for (const Kind& kind : {kKinds[0], kKinds[6]}) {
    given_encrypted(kind, "a");
    const std::string prefix = kind.format == "luks" ? "" : "encrypt.";
    const auto amend = [&](const std::string& list, const Words& more = {}) {
      std::string prefixed = prefix;
      for (const char c : list) prefixed += c == ',' ? "," + prefix : std::string(1, c);
      Words words = with_secrets("amend", {"-o", prefixed});
      words.insert(words.end(), more.begin(), more.end());
      words.insert(words.end(), {"--image-opts", opened(kind.format, "a")});
      return expect_same_outcome(words).exit_code;
    };
    const auto expect_same_slots = [&] {
      const auto slots = [&](const std::string& directory) {
        return without_chance(run_in(directory, {"qemu-img", "info", "--output=json", "a"}).out);
      };
      EXPECT_EQ(slots("ours").substr(slots("ours").find("slots")),
                slots("reference").substr(slots("reference").find("slots")));
    };
    Words lists = {"state=active,new-secret=other,iter-time=10,keyslot=5",
                   "state=inactive,keyslot=5"};
    if (kind.format == "luks") {
      lists = {"state=active,new-secret=other,iter-time=10", "state=inactive,old-secret=other"};
    }
    for (const std::string& list : lists) {
      EXPECT_EQ(amend(list), 0) << list;
      expect_same_slots();
    }
    for (const std::string list :
         {"state=active,new-secret=other,iter-time=10,keyslot=0",
          "state=active,new-secret=other,iter-time=10,keyslot=9", "state=inactive,keyslot=5",
          "state=inactive,old-secret=other", "state=inactive,old-secret=s", "state=inactive",
          "state=nonsense", "state=active", "new-secret=other", "state=active,new-secret=none",
          "state=active,new-secret=other,old-secret=s", "keyslot=1",
          "state=inactive,new-secret=other", "state=inactive,iter-time=10",
          "state=inactive,keyslot=0"}) {
      EXPECT_EQ(amend(list), 1) << list;
    }
    expect_same_slots();
    EXPECT_EQ(amend("state=inactive,keyslot=0", {"--force"}), 0);
    expect_same_slots();
  }
  given_encrypted(kKinds[1], "a");
  expect_same_failure(with_secrets("amend", {"-o", "encrypt.state=active,encrypt.new-secret=other",
                                             "--image-opts", opened("qcow2", "a")}));
}

TEST_F(Encryption, DisksGrow) {
  for (const Kind& kind : {kKinds[0], kKinds[1], kKinds[6]}) {
    given_encrypted(kind, "a");
    const std::string name = opened(kind.format, "a");
    expect_same_success(with_secrets("resize", {"--image-opts", name, "20M"}));
    expect_same_success({"info", "--output=json", "-f", kind.format, "a"});
  }
}

TEST_F(Encryption, SecretsComeFromFilesAndInBase64) {
  given_encrypted(kKinds[0], "a");
  given_file("secret", "pass");
  given_file("secret64", "cGFz\ncw==\n");
  for (const std::string object :
       {"secret,id=s,file=secret", "secret,id=s,format=base64,file=secret64",
        "secret,id=s,format=base64,data=cGFzcw==", "secret,id=s,format=raw,data=pass"}) {
    expect_same_success({"convert", "--object", object, "--image-opts", opened("qcow2", "a"), "o"});
    EXPECT_EQ(read_file("ours/o"), read_file("reference/o"));
  }
  const CommandResult piped =
      run({test::tool(), "convert", "--object", "secret,id=s,file=/dev/stdin", "--image-opts",
           opened("qcow2", file("ours/a")), file("ours/piped")},
          "pass");
  EXPECT_EQ(piped.exit_code, 0) << piped.err;
  EXPECT_EQ(read_file("ours/piped"), read_file("ours/o"));
}

}  // namespace
}  // namespace qcowkit::test
