// --object: definitions that make no sense are refused in the reference's words.
#include <filesystem>

#include "tests/cli/side_by_side.h"

namespace qcowkit::test {
namespace {

class ObjectDefinitions : public SideBySide {
 protected:
  void expect_same(const std::string& definition) const {
    expect_same_words({"create", "-q", "--object", definition, "a.raw", "1M"});
  }
};

TEST_F(ObjectDefinitions, RulesOfListsAreChecked) {
  for (const char* const properties :
       {"", "policy=deny", "policy=foo", "rules=foo", "rules.x.match=a", "rules.0=a",
        "rules.0.match=a", "rules.0.policy=allow", "rules.0.match=a,rules.0.policy=foo",
        "rules.0.match=a,rules.0.policy=allow",
        "rules.0.match=a,rules.0.policy=allow,rules.0.format=glob",
        "rules.0.match=a,rules.0.policy=allow,rules.0.format=foo",
        "rules.0.match=a,rules.0.policy=allow,rules.0.foo=1",
        "rules.0.match.x=a,rules.0.policy=allow", "rules.1.match=a,rules.1.policy=deny",
        "rules.0.match=a,rules.0.policy=deny,rules.2.match=a", "foo=1", "policy=deny,foo.x=1"}) {
    const std::string more = *properties != '\0' ? std::string(",") + properties : "";
    expect_same("authz-list,id=a" + more);
  }
}

TEST_F(ObjectDefinitions, RulesMayBeJson) {
  for (const char* const properties :
       {R"("policy":"allow")", R"("policy":3)", R"("rules":[])", R"("rules":"foo")",
        R"("rules":["foo"])", R"("rules":[{"match":"a"}])", R"("rules":[{"policy":"deny"}])",
        R"("rules":[{"match":"a","policy":"deny"}])",
        R"("rules":[{"match":"a","policy":"deny","format":"exact"}])",
        R"("rules":[{"match":"a","policy":"foo"}])", R"("rules":[{"match":1,"policy":"deny"}])",
        R"("rules":[{"match":"a","policy":"deny","foo":1}])"}) {
    expect_same(std::string(R"({"qom-type":"authz-list","id":"a",)") + properties + "}");
  }
}

TEST_F(ObjectDefinitions, CredentialsAndAuthorisationAreChecked) {
  for (const char* const definition :
       {"tls-creds-anon,id=a",
        "tls-creds-anon,id=a,endpoint=server,dir=/nonexistent",
        "tls-creds-anon,id=a,endpoint=foo",
        "tls-creds-anon,id=a,verify-peer=foo",
        "tls-creds-anon,id=a,priority=NORMAL",
        "tls-creds-anon,id=a,username=foo",
        R"({"qom-type":"tls-creds-anon","id":"a","verify-peer":false})",
        R"({"qom-type":"tls-creds-anon","id":"a","verify-peer":"off"})",
        "tls-creds-x509,id=a",
        "tls-creds-x509,id=a,dir=/nonexistent",
        "tls-creds-x509,id=a,sanity-check=maybe",
        "tls-creds-psk,id=a",
        "tls-creds-psk,id=a,dir=/nonexistent,username=a",
        "authz-simple,id=a",
        "authz-simple,id=a,identity=b",
        "authz-simple,id=a,identity=b,foo=c",
        "authz-listfile,id=a",
        "authz-pam,id=a,service=foo",
        "tls-creds-anon,help",
        "tls-creds-x509,help",
        "tls-creds-psk,help",
        "authz-simple,help",
        "authz-list,help",
        "authz-list-file,help"}) {
    expect_same(definition);
  }
}

// The reference's help has one name of this type, its documentation another, and it takes neither.
TEST_F(ObjectDefinitions, ListsInFilesGoByBothNames) {
  given_file("list", R"({"rules": [{"match": "a*", "policy": "allow", "format": "glob"}]})");
  given_file("nonsense", R"({"rules": [{"match": "a*"}]})");
  given_file("policy", R"({"policy": "perhaps"})");
  given_file("unknown", R"({"policy": "deny", "rule": []})");
  const auto create = [&](const std::string& definition) {
    return qcow({"create", "-q", "--object", definition, file("a.raw"), "1M"});
  };
  for (const std::string type : {"authz-list-file", "authz-listfile"}) {
    const std::string start = type + ",id=a,filename=" + file("ours/");
    EXPECT_TRUE(create(start + "list").ok());
    EXPECT_TRUE(create(start + "list,refresh=off").ok());
    for (const std::string wrong : {"nonsense", "policy", "unknown", "none"}) {
      EXPECT_EQ(create(start + wrong).exit_code, 1) << wrong;
    }
  }
}

}  // namespace
}  // namespace qcowkit::test
