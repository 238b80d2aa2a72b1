// qcow nbd with TLS, with clients that are not ours and with our own.
#include "tests/cli/nbd/server.h"
#include "tests/support/tool.h"

namespace qcowkit::test {
namespace {

class NbdTls : public NbdProgram {
 protected:
  void SetUp() override {
    NbdProgram::SetUp();
    if (IsSkipped()) return;
    for (const char* const tool : {"certtool", "psktool"}) {
      if (!have_command(tool)) GTEST_SKIP() << tool << " is not installed";
    }
    make_image("a.qcow2", "1M");
    write_pattern("a.qcow2", {"write -P 6 0 1M"});
  }

  void write_text(const std::string& name, const std::string& text) const {
    std::ofstream(file(name)) << text;
  }
  void make_key(const std::string& path) const {
    expect_ok({"certtool", "--generate-privkey", "--key-type=ed25519", "--outfile", file(path)});
  }
  /// An authority in `directory`, with a server and a client called "laptop".
  void make_certificates(const std::string& directory) const {
    std::filesystem::create_directory(file(directory));
    write_text("ca.info", "cn = Authority\nca\ncert_signing_key\n");
    write_text("server.info", "cn = localhost\ntls_www_server\nsigning_key\n");
    write_text("client.info", "cn = laptop\norganization = Example\ntls_www_client\nsigning_key\n");
    make_key(directory + "/ca-key.pem");
    expect_ok({"certtool", "--generate-self-signed", "--load-privkey",
               file(directory + "/ca-key.pem"), "--template", file("ca.info"), "--outfile",
               file(directory + "/ca-cert.pem")});
    for (const std::string who : {"server", "client"}) {
      make_key(directory + "/" + who + "-key.pem");
      expect_ok({"certtool", "--generate-certificate", "--load-ca-certificate",
                 file(directory + "/ca-cert.pem"), "--load-ca-privkey",
                 file(directory + "/ca-key.pem"), "--load-privkey",
                 file(directory + "/" + who + "-key.pem"), "--template", file(who + ".info"),
                 "--outfile", file(directory + "/" + who + "-cert.pem")});
    }
  }
  void make_keys(const std::string& directory, const std::string& user) const {
    std::filesystem::create_directory(file(directory));
    expect_ok({"psktool", "-u", user, "-p", file(directory + "/keys.psk")});
  }

  void serve_tls(const Words& objects, const Words& more = {"--tls-creds", "tls0"}) {
    server_.reset();
    std::filesystem::remove(socket());
    Words words = {test::tool(), "nbd", "-t", "-k", socket(), "-f", "qcow2"};
    for (const std::string& object : objects) words.insert(words.end(), {"--object", object});
    words.insert(words.end(), more.begin(), more.end());
    words.push_back(file("a.qcow2"));
    server_ = std::make_unique<BackgroundCommand>(words);
    wait_until_it_listens();
  }

  /// The exit code of a client that reads the disk with these credentials.
  CommandResult read_with(const std::string& program, const std::string& credentials) const {
    Words words = {program, "-r"};
    if (program == test::tool()) words = {program, "io", "-r"};
    if (!credentials.empty()) words.insert(words.end(), {"--object", credentials});
    std::string options = "driver=nbd,server.type=unix,server.path=" + socket();
    if (!credentials.empty()) options += ",tls-creds=c0";
    words.insert(words.end(), {"-c", "read -P 6 0 1M", "--image-opts", options});
    return run(words);
  }
  void expect_let_in(const std::string& credentials) const {
    for (const std::string& program : {std::string("qemu-io"), test::tool()}) {
      const CommandResult result = read_with(program, credentials);
      EXPECT_TRUE(result.ok()) << program << " " << credentials << "\n" << result.out << result.err;
      EXPECT_NE(result.out.find("read 1048576/1048576"), std::string::npos) << result.out;
    }
  }
  void expect_refused(const std::string& credentials) const {
    for (const std::string& program : {std::string("qemu-io"), test::tool()}) {
      EXPECT_FALSE(read_with(program, credentials).ok()) << program << " " << credentials;
    }
  }
};

TEST_F(NbdTls, CertificatesOfTheAuthorityLetIn) {
  make_certificates("pki");
  make_certificates("others");
  serve_tls({"tls-creds-x509,id=tls0,endpoint=server,dir=" + file("pki")});
  const std::string client = "tls-creds-x509,id=c0,endpoint=client,verify-peer=off,dir=";
  expect_let_in(client + file("pki"));
  expect_refused(client + file("others"));
  expect_refused("");
}

TEST_F(NbdTls, OnlyThoseWhoAreNamedAreLetIn) {
  make_certificates("pki");
  const std::string credentials = "tls-creds-x509,id=tls0,endpoint=server,dir=" + file("pki");
  const std::string client =
      "tls-creds-x509,id=c0,endpoint=client,verify-peer=off,dir=" + file("pki");
  const Words more = {"--tls-creds", "tls0", "--tls-authz", "a0"};
  serve_tls({credentials, "authz-simple,id=a0,identity=O=Example,,CN=laptop"}, more);
  expect_let_in(client);
  serve_tls({credentials, "authz-simple,id=a0,identity=O=Example,,CN=desktop"}, more);
  expect_refused(client);

  write_text("list", R"({"rules": [{"match": "*CN=lap*", "policy": "allow", "format": "glob"}]})");
  serve_tls({credentials, "authz-listfile,id=a0,filename=" + file("list")}, more);
  expect_let_in(client);
  // The list is read anew.
  write_text("list", R"({"rules": [], "policy": "deny"})");
  expect_refused(client);
}

TEST_F(NbdTls, ServersWithoutNeedForClientCertificatesLetAllIn) {
  make_certificates("pki");
  make_certificates("others");
  serve_tls({"tls-creds-x509,id=tls0,endpoint=server,verify-peer=off,dir=" + file("pki")});
  expect_let_in("tls-creds-x509,id=c0,endpoint=client,verify-peer=off,dir=" + file("others"));
  expect_refused("");
}

TEST_F(NbdTls, PresharedKeysLetIn) {
  make_keys("keys", "alice");
  make_keys("others", "alice");
  serve_tls({"tls-creds-psk,id=tls0,endpoint=server,dir=" + file("keys")});
  expect_let_in("tls-creds-psk,id=c0,endpoint=client,username=alice,dir=" + file("keys"));
  expect_refused("tls-creds-psk,id=c0,endpoint=client,username=alice,dir=" + file("others"));
  expect_refused("");
  const CommandResult info =
      run({"nbdinfo", "--size",
           "nbds+unix://alice@/?socket=" + socket() + "&tls-psk-file=" + file("keys/keys.psk")});
  EXPECT_EQ(info.out, "1048576\n") << info.err;
  // Our own client takes the same name.
  const CommandResult ours =
      run({test::tool(), "info",
           "nbds+unix://alice@/?socket=" + socket() + "&tls-psk-file=" + file("keys/keys.psk")});
  EXPECT_TRUE(ours.ok()) << ours.err;
}

TEST_F(NbdTls, OurClientSpeaksWithTheReferencesServer) {
  make_keys("keys", "alice");
  server_ = std::make_unique<BackgroundCommand>(
      Words{"qemu-nbd", "-t", "-k", socket(), "-f", "qcow2", "--object",
            "tls-creds-psk,id=tls0,endpoint=server,dir=" + file("keys"), "--tls-creds", "tls0",
            file("a.qcow2")});
  wait_until_it_listens();
  const CommandResult result = read_with(
      test::tool(), "tls-creds-psk,id=c0,endpoint=client,username=alice,dir=" + file("keys"));
  EXPECT_TRUE(result.ok()) << result.out << result.err;
}

}  // namespace
}  // namespace qcowkit::test
