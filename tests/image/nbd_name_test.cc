// The names of NBD exports.
#include "image/nbd_name.h"

#include <gtest/gtest.h>

#include "tests/support/errors.h"

namespace qcowkit::test {
namespace {

/// The options as a list, in their names' order.
std::string options_of(std::string_view name) {
  const NodeOptions options = parse_nbd_name(name);
  std::string list;
  for (const auto& [key, value] : options.values()) {
    if (!list.empty()) list += ',';
    list += key + '=';
    const auto* const text = std::get_if<std::string>(&value);
    list += text != nullptr ? *text : std::get<bool>(value) ? "on" : "off";
  }
  return list;
}

TEST(NbdName, OldNamesOfUnixSockets) {
  EXPECT_EQ(options_of("nbd:unix:/run/s"), "server.path=/run/s,server.type=unix");
  EXPECT_EQ(options_of("nbd:unix:/run/s:exportname=a:b"),
            "export=a:b,server.path=/run/s,server.type=unix");
}

TEST(NbdName, OldNamesOfHosts) {
  EXPECT_EQ(options_of("nbd:host:10809"), "server.host=host,server.port=10809,server.type=inet");
  EXPECT_EQ(options_of("nbd:[::1]:99:exportname=x"),
            "export=x,server.host=::1,server.port=99,server.type=inet");
}

TEST(NbdName, Uris) {
  EXPECT_EQ(options_of("nbd://host"), "server.host=host,server.port=10809,server.type=inet");
  EXPECT_EQ(options_of("nbd+tcp://host:7/a%20b"),
            "export=a b,server.host=host,server.port=7,server.type=inet");
  EXPECT_EQ(options_of("nbd://[fe80::1]:7/x/y"),
            "export=x/y,server.host=fe80::1,server.port=7,server.type=inet");
  EXPECT_EQ(options_of("nbd+unix:///x?socket=/run/a%2Fs"),
            "export=x,server.path=/run/a/s,server.type=unix");
  EXPECT_EQ(options_of("nbd+unix://?socket=/s"), "server.path=/s,server.type=unix");
}

TEST(NbdName, EncryptedUris) {
  EXPECT_EQ(options_of("nbds://host/x"),
            "export=x,server.host=host,server.port=10809,server.type=inet,tls=on");
  EXPECT_EQ(options_of("nbds+unix://alice@/x?socket=/s&tls-psk-file=/keys"),
            "export=x,server.path=/s,server.type=unix,tls=on,tls-psk-file=/keys,"
            "tls-username=alice");
  EXPECT_EQ(options_of("nbds://h/?tls-certificates=/pki"),
            "server.host=h,server.port=10809,server.type=inet,tls=on,tls-certificates=/pki");
  EXPECT_EQ(options_of("nbds://h/?tls-hostname=other&tls-verify-peer=false"),
            "server.host=h,server.port=10809,server.type=inet,tls=on,tls-hostname=other,"
            "tls-verify-peer=off");
}

TEST(NbdName, WhatMakesNoSenseIsRefused) {
  for (const std::string_view name :
       {"nbd://", "nbd+unix:///x", "nbd://h:x/e", "nbd://h:/e", "nbd://h?socket=/s", "nbd://[::1/x",
        "nbd+unix://h/x?socket=/s", "nbd://h/%", "nbd://h/%4", "nbd://h/%zz", "nbd://h?what=1",
        "nbds:unix:/s"}) {
    EXPECT_EQ(error_of([&] { parse_nbd_name(name); }).message(), "No valid URL specified") << name;
  }
  EXPECT_EQ(error_of([] { parse_nbd_name("nbd:"); }).message(), "NBD server address missing");
  EXPECT_EQ(error_of([] { parse_nbd_name("nbd:foo"); }).message(), "error parsing address 'foo'");
  EXPECT_EQ(error_of([] { parse_nbd_name("nbd:h:"); }).message(), "error parsing address 'h:'");
}

TEST(NbdName, ShownNamesMeanTheSame) {
  for (const std::string_view name : {"nbd://host:10809", "nbd://host:99/x",
                                      "nbd+unix://?socket=/s", "nbd+unix:///x?socket=/s"}) {
    const NodeOptions options = parse_nbd_name(name);
    NbdClientOptions nbd;
    nbd.socket_path = options.text("server.path");
    nbd.host = options.text("server.host");
    nbd.port = options.text("server.port");
    nbd.export_name = options.text("export");
    EXPECT_EQ(nbd_name_of(nbd), name);
  }
}

}  // namespace
}  // namespace qcowkit::test
