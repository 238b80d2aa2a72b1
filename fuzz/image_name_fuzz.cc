// Fuzz target: what images are called: names with protocols, json: objects, lists of options, and
// URIs of NBD exports.
#include <string_view>

#include "base/option_list.h"
#include "fuzz/fuzz_target.h"
#include "image/nbd_name.h"
#include "qcowkit/node.h"

namespace qcowkit::fuzz {

namespace {

template <typename Parse>
void try_to(Parse parse) {
  try {
    static_cast<void>(parse());
  } catch (const Error&) {
    // It means nothing.
  }
}

Input text(std::string_view words) { return {words.begin(), words.end()}; }

}  // namespace

std::vector<Input> seed_inputs() {
  return {
      text("json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"a\"},"
           "\"backing\":null,\"size\":1.5e3,\"children\":[{\"filename\":\"b\"},true]}"),
      text("driver=qcow2,file.driver=file,file.filename=a,,b,backing.driver=raw,nolazy,read-only"),
      text("blkdebug:rules:blkverify:raw:disk"),
      text("nbd://localhost:10809/export%20name?socket=%2Ftmp%2Fs&x=1#f"),
      text("nbd+unix:///name?socket=/run/disk.sock"),
      text("nbds://[::1]:1/e"),
      text("nbd:unix:/run/disk.sock:exportname=e"),
      text("nbd:localhost:10809:exportname=e"),
      text("children.0.driver=raw,children.1.file.filename=x,vote-threshold=2"),
      text("null-co://size=1G"),
  };
}

}  // namespace qcowkit::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace qcowkit;
  const std::string_view words(reinterpret_cast<const char*>(data), size);
  fuzz::try_to([&] { return NodeOptions::from_name(words); });
  fuzz::try_to([&] { return NodeOptions::from_list(words); });
  fuzz::try_to([&] { return NodeOptions::from_json(words); });
  fuzz::try_to([&] { return parse_nbd_name(words); });
  fuzz::try_to([&] { return parse_key_values(words, "type"); });
  fuzz::try_to([&] { return NodeOptions::from_list(words).child("file"); });
  return 0;
}
