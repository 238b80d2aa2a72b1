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
    write_text("server.info",
               "cn = localhost\ndns_name = localhost\ndns_name = disks.example\n"
               "ip_address = 127.0.0.1\ntls_www_server\nsigning_key\n");
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
    serve_tls_with({test::tool(), "nbd"}, objects, more);
  }
  void serve_tls_with(Words words, const Words& objects,
                      const Words& more = {"--tls-creds", "tls0"}) {
    server_.reset();
    std::filesystem::remove(socket());
    words.insert(words.end(), {"-t", "-e", "0", "-k", socket(), "-f", "qcow2"});
    for (const std::string& object : objects) words.insert(words.end(), {"--object", object});
    words.insert(words.end(), more.begin(), more.end());
    words.push_back(file("a.qcow2"));
    server_ = std::make_unique<BackgroundCommand>(words);
    wait_until_it_listens();
  }

  /// The exit code of a client that reads the disk with these credentials.
  CommandResult read_with(const std::string& program, const std::string& credentials,
                          const std::string& more = {}) const {
    Words words = {program, "-r"};
    if (program == test::tool()) words = {program, "io", "-r"};
    if (!credentials.empty()) words.insert(words.end(), {"--object", credentials});
    std::string options = "driver=nbd,server.type=unix,server.path=" + socket();
    if (!credentials.empty()) options += ",tls-creds=c0";
    options += more;
    words.insert(words.end(), {"-c", "read -P 6 0 1M", "--image-opts", options});
    return run(words);
  }
  void expect_let_in(const std::string& credentials, const std::string& more = {}) const {
    for (const std::string& program : {std::string("qemu-io"), test::tool()}) {
      const CommandResult result = read_with(program, credentials, more);
      EXPECT_TRUE(result.ok()) << program << " " << credentials << "\n" << result.out << result.err;
      EXPECT_NE(result.out.find("read 1048576/1048576"), std::string::npos) << result.out;
    }
  }
  void expect_refused(const std::string& credentials) const {
    for (const std::string& program : {std::string("qemu-io"), test::tool()}) {
      EXPECT_FALSE(read_with(program, credentials).ok()) << program << " " << credentials;
    }
  }
  /// With the reference's message.
  void expect_refused_alike(const std::string& credentials, const std::string& more) const {
    const CommandResult reference = read_with("qemu-io", credentials, more);
    const CommandResult ours = read_with(test::tool(), credentials, more);
    EXPECT_FALSE(reference.ok());
    EXPECT_EQ(ours.exit_code, reference.exit_code) << more;
    EXPECT_EQ(ours.err.substr(ours.err.find(':')), reference.err.substr(reference.err.find(':')))
        << more;
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

TEST_F(NbdTls, AnonymousClientsEncryptOnly) {
  const std::string client = "tls-creds-anon,id=c0,endpoint=client";
  make_keys("keys", "qemu");
  for (const Words& server : {Words{test::tool(), "nbd"}, Words{"qemu-nbd"}}) {
    serve_tls_with(server, {"tls-creds-anon,id=tls0,endpoint=server"});
    expect_let_in(client);
    expect_let_in(client + ",priority=NORMAL");
    expect_refused("");
    expect_refused("tls-creds-psk,id=c0,endpoint=client,dir=" + file("keys"));
    expect_refused_alike(client + ",priority=FOO", "");
  }
  // Whoever says nothing of who they are is nobody to the list.
  serve_tls({"tls-creds-anon,id=tls0,endpoint=server", "authz-list,id=a0,policy=deny"},
            {"--tls-creds", "tls0", "--tls-authz", "a0"});
  expect_refused(client);
}

TEST_F(NbdTls, ServersHaveToBeWhomTheirCertificateNames) {
  make_certificates("pki");
  make_certificates("others");
  const std::string client = "tls-creds-x509,id=c0,endpoint=client,dir=" + file("pki");
  for (const Words& server : {Words{test::tool(), "nbd"}, Words{"qemu-nbd"}}) {
    serve_tls_with(server, {"tls-creds-x509,id=tls0,endpoint=server,dir=" + file("pki")});
    expect_let_in(client, ",tls-hostname=localhost");
    expect_let_in(client, ",tls-hostname=disks.example");
    expect_refused_alike(client, "");
    expect_refused_alike(client, ",tls-hostname=other.example");
    expect_refused_alike("tls-creds-x509,id=c0,endpoint=client,dir=" + file("others"),
                         ",tls-hostname=localhost");
  }
}

TEST_F(NbdTls, ListsOfExportsAreAskedForOverTls) {
  make_certificates("pki");
  serve_tls({"tls-creds-x509,id=tls0,endpoint=server,dir=" + file("pki")});
  const auto list = [&](const std::string& host) {
    return run({test::tool(), "nbd", "-L", "-k", socket(), "--object",
                "tls-creds-x509,id=c0,endpoint=client,dir=" + file("pki"), "--tls-creds", "c0",
                "--tls-hostname", host});
  };
  const CommandResult good = list("localhost");
  EXPECT_TRUE(good.ok()) << good.err;
  EXPECT_NE(good.out.find("exports available: 1\n"), std::string::npos) << good.out;
  const CommandResult bad = list("other.example");
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_EQ(bad.err, "qcow: Certificate does not match the hostname other.example\n");
}

TEST_F(NbdTls, ServersWithoutTlsAreToldFrom) {
  make_certificates("pki");
  serve({"-t", "-e", "0", "-f", "qcow2", file("a.qcow2")});
  const CommandResult result = read_with(test::tool(), "tls-creds-anon,id=c0,endpoint=client");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("Denied by server for option 5 (starttls)"), std::string::npos)
      << result.err;
}

TEST_F(NbdTls, RulesMayBeGivenWithTheCommand) {
  make_certificates("pki");
  const std::string credentials = "tls-creds-x509,id=tls0,endpoint=server,dir=" + file("pki");
  const std::string client =
      "tls-creds-x509,id=c0,endpoint=client,verify-peer=off,dir=" + file("pki");
  const Words more = {"--tls-creds", "tls0", "--tls-authz", "a0"};
  const std::string rules = ",rules.0.match=*CN=lap*,rules.0.format=glob,rules.0.policy=";
  for (const Words& server : {Words{test::tool(), "nbd"}, Words{"qemu-nbd"}}) {
    serve_tls_with(server, {credentials, "authz-list,id=a0" + rules + "allow"}, more);
    expect_let_in(client);
    serve_tls_with(server, {credentials, "authz-list,id=a0,policy=allow" + rules + "deny"}, more);
    expect_refused(client);
    serve_tls_with(
        server,
        {credentials, R"({"qom-type":"authz-list","id":"a0","rules":)"
                      R"([{"match":"O=Example,CN=laptop","policy":"allow","format":"exact"}]})"},
        more);
    expect_let_in(client);
  }
}

TEST_F(NbdTls, KeysOfCertificatesMayBeEncrypted) {
  make_certificates("pki");
  for (const std::string who : {"server", "client"}) {
    const std::string key = file("pki/" + who + "-key.pem");
    expect_ok({"certtool", "--to-p8", "--load-privkey", key, "--password", "open sesame",
               "--pkcs-cipher", "aes-256", "--outfile", key + ".new"});
    std::filesystem::rename(key + ".new", key);
  }
  const std::string secret = "secret,id=s0,data=open sesame";
  serve_tls({secret, "tls-creds-x509,id=tls0,endpoint=server,passwordid=s0,dir=" + file("pki")});
  const CommandResult result =
      run({test::tool(), "io", "-r", "--object", secret, "--object",
           "tls-creds-x509,id=c0,endpoint=client,passwordid=s0,dir=" + file("pki"), "-c",
           "read -P 6 0 1M", "--image-opts",
           "driver=nbd,path=" + socket() + ",tls-hostname=localhost,tls-creds=c0"});
  EXPECT_TRUE(result.ok()) << result.out << result.err;
}

/// Copies a disk to a server and back, over TLS, with as many requests at a time as copies make.
TEST_F(NbdTls, DisksAreCopiedBothWays) {
  make_image("big.qcow2", "8M");
  write_pattern("big.qcow2", {"write -P 1 0 3M", "write -P 2 4M 1M", "write -P 3 7M 1M"});
  make_image("a.qcow2", "8M");
  make_keys("keys", "alice");
  const std::string uri =
      "nbds+unix://alice@/?socket=" + socket() + "&tls-psk-file=" + file("keys/keys.psk");
  for (const Words& server : {Words{test::tool(), "nbd"}, Words{"qemu-nbd"}}) {
    serve_tls_with(server, {"tls-creds-psk,id=tls0,endpoint=server,dir=" + file("keys")});
    expect_ok({test::tool(), "convert", "-n", "-f", "qcow2", "-O", "raw", file("big.qcow2"), uri});
    expect_ok({test::tool(), "convert", "-f", "raw", "-O", "qcow2", uri, file("back.qcow2")});
    expect_ok({"qemu-img", "compare", file("big.qcow2"), file("back.qcow2")});
    expect_ok({"nbdcopy", uri, file("back.raw")});
    expect_ok({"qemu-img", "compare", "-F", "raw", file("big.qcow2"), file("back.raw")});
    expect_ok({"nbdcopy", file("back.raw"), uri});
    expect_ok({test::tool(), "compare", "-f", "raw", "-F", "raw", file("back.raw"), uri});
  }
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
