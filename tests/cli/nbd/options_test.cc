// The options of the server's command line that make no sense, alone or together: said as the
// reference says it.
#include <chrono>
#include <thread>

#include "tests/cli/nbd/server.h"

namespace qcowkit::test {
namespace {

class NbdOptions : public NbdProgram {
 protected:
  /// Both programs refuse it with the same words.
  void expect_same(const Words& options) const {
    const auto outcome = [&](const std::string& program) {
      Words words = {program};
      words.insert(words.end(), options.begin(), options.end());
      const CommandResult result = run_while_port_is_in_use(words);
      return result.out + result.err + "exit code " + std::to_string(result.exit_code);
    };
    std::string line;
    for (const std::string& word : options) line += word.substr(0, 40) + " ";
    const std::string ours = outcome(file("links/qemu-nbd"));
    EXPECT_EQ(ours, outcome("qemu-nbd")) << line;
    EXPECT_NE(ours.find("exit code 1"), std::string::npos) << line;
  }

 private:
  /// Some of what is wrong is only found by who has the default port, which others may have just
  /// now.
  static CommandResult run_while_port_is_in_use(const Words& words) {
    using namespace std::chrono_literals;
    CommandResult result = run(words);
    for (int tries = 0; tries < 300 && result.err.find("in use") != std::string::npos; ++tries) {
      std::this_thread::sleep_for(100ms);
      result = run(words);
    }
    return result;
  }
};

TEST_F(NbdOptions, ThatThereAreNotAreRefusedAsTheReferenceDoes) {
  for (const Words& words : std::vector<Words>{{},
                                               {"a", "b"},
                                               {"-c"},
                                               {"-e"},
                                               {"--socket"},
                                               {"-z"},
                                               {"--bad"},
                                               {"--fork=1"},
                                               {"-d"},
                                               {"-d", "a", "b"}}) {
    expect_same(words);
  }
}

TEST_F(NbdOptions, WithValuesThatMeanNothingAreRefusedAsTheReferenceDoes) {
  make_image("a.qcow2", "1M");
  const std::string image = file("a.qcow2");
  const std::string nowhere = file("no/socket");
  const std::string long_name(4097, 'x');
  for (const Words& words :
       std::vector<Words>{{"-k", "relative", image},
                          {"--cache", "bad", image},
                          {"--cache", "none", "-n", image},
                          {"-n", "-n", image},
                          {"--cache", "none", "--cache", "none", image},
                          {"--aio", "bad", image},
                          {"--aio", "native", "--aio", "native", image},
                          {"--aio", "native", image},
                          {"--aio", "native", "-n", "-k", nowhere, image},
                          {"--discard", "bad", image},
                          {"--discard", "unmap", "--discard", "unmap", image},
                          {"--detect-zeroes", "bad", image},
                          {"--detect-zeroes", "unmap", image},
                          {"--detect-zeroes", "unmap", "--discard", "unmap", image},
                          {"--discard", "unmap", "--detect-zeroes", "unmap", "-k", nowhere, image},
                          {"-e", "bad", image},
                          {"-e", "-1", image},
                          {"-e", "99999999999", image},
                          {"-o", "bad", image},
                          {"-o", "-1", image},
                          {"-o", "2097152", image},
                          {"-o", "", image},
                          {"-o", "12x", image},
                          {"-p", "bad", image},
                          {"-p", "-1", image},
                          {"-k", nowhere, image},
                          {"-k", "/" + std::string(120, 'x'), image},
                          {"-l", "none", image},
                          {"-f", "bad", image},
                          {"-f", "raw", file("missing")},
                          {file("missing")},
                          {"--image-opts", "-f", "raw", image},
                          {"--image-opts", "driver=qcow2,file.filename=" + file("missing")},
                          {"-x", long_name, image},
                          {"-D", long_name, image},
                          {"--pid-file", file("no/pid"), "-k", socket(), image},
                          {"--object", "bad", image},
                          {"--object", "secret,id=a", image},
                          {"-k", nowhere, file("missing")},
                          {"-c", file("no-device"), image},
                          {"-d", file("no-device")},
                          {"--tls-creds", "none", image},
                          {"--tls-creds", "none", file("missing")},
                          {"--tls-creds", "none", "-c", "/dev/null", image},
                          {"--tls-hostname", "h", image},
                          {"--tls-authz", "a", image},
                          {"--tls-authz", "a", "--tls-hostname", "h", image},
                          {"--tls-hostname", "h", "--tls-creds", "none", image}}) {
    expect_same(words);
  }
}

TEST_F(NbdOptions, AreLookedAtInTheirOrder) {
  for (const Words& words : std::vector<Words>{{"--cache", "bad", "--aio", "bad", "x"},
                                               {"--aio", "bad", "--cache", "bad", "x"},
                                               {"-e", "bad", "--cache", "bad", "x"},
                                               {"--cache", "bad", "-k", "relative", "x"},
                                               {"-k", "relative", "--cache", "bad", "x"},
                                               {"-o", "x", "--cache", "bad", "x"},
                                               {"-p", "bad", file("missing")},
                                               {"-e", "bad", "a", "b"}}) {
    expect_same(words);
  }
}

TEST_F(NbdOptions, ThatDoNotGoWithAListAreRefusedAsTheReferenceDoes) {
  const Words list = {"-L", "-k", file("no-socket")};
  for (const Words& words : std::vector<Words>{{},
                                               {"x"},
                                               {"-d", "x"},
                                               {"-c", "x"},
                                               {"-f", "raw"},
                                               {"-t"},
                                               {"-o", "1"},
                                               {"-x", "a"},
                                               {"-D", "d"},
                                               {"-r"},
                                               {"-e", "2"},
                                               {"--pid-file", "x"},
                                               {"--fork"},
                                               {"--fork", "-x", "a"},
                                               {"--fork", "--tls-hostname", "h"},
                                               {"-A"},
                                               {"-B", "b"},
                                               {"-s"},
                                               {"-l", "a"},
                                               {"-n"},
                                               {"--cache", "none"},
                                               {"--aio", "threads"},
                                               {"--discard", "unmap"},
                                               {"--detect-zeroes", "on"},
                                               {"--image-opts"},
                                               {"-v"},
                                               {"--tls-creds", "none"},
                                               {"--tls-hostname", "h"},
                                               {"--tls-authz", "a"},
                                               {"--tls-authz", "a", "--tls-creds", "none"}}) {
    Words all = list;
    all.insert(all.end(), words.begin(), words.end());
    expect_same(all);
  }
}

}  // namespace
}  // namespace qcowkit::test
