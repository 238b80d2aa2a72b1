// Fuzz target: whatever a client sends to an NBD server, from its first byte on: the negotiation,
// then the stream of requests in the style that was negotiated.
#include <atomic>
#include <memory>
#include <string>

#include "export/nbd/handshake.h"
#include "export/nbd/request_reader.h"
#include "fuzz/nbd_script.h"

namespace qcowkit::fuzz {

namespace {

constexpr std::uint64_t kDiskBytes = 1 << 20;

const nbd::Exports& exports() {
  static const auto image = [] {
    auto storage = make_memory_storage();
    storage->resize(kDiskBytes, Preallocation::off);
    OpenOptions options;
    options.format = "raw";
    options.read_only = false;
    return Image::open(std::move(storage), options);
  }();
  static const nbd::Exports served = [] {
    NbdExport disk;
    disk.name = "disk";
    disk.description = "for tests";
    disk.image = image.get();
    disk.allocation_depth = true;
    return nbd::Exports{std::make_shared<const nbd::ServedExport>(disk)};
  }();
  return served;
}

/// Reads every byte of what a request brought.
void look_at(std::span<const std::byte> payload) {
  static volatile unsigned sum = 0;
  for (const std::byte byte : payload) sum = sum + std::to_integer<unsigned>(byte);
}

void serve(std::span<const std::byte> bytes) {
  std::shared_ptr<NbdTransport> transport = std::make_shared<Script>(bytes);
  const std::atomic<bool> draining = false;
  const std::optional<nbd::Session> session =
      nbd::Handshake(transport, exports(), nullptr, draining).run();
  if (!session) return;
  nbd::MemoryPool pool(64 << 10);  // so that large payloads come in pieces
  nbd::MemoryBudget budget(pool);
  nbd::RequestReader reader(
      *transport, session->rules(), budget, draining,
      [](const nbd::Request&, std::uint64_t, std::span<const std::byte> payload) {
        look_at(payload);
        return nbd::WireError::none;
      });
  Buffer spare;
  while (!reader.is_at_end()) {
    std::vector<nbd::Incoming> requests;
    reader.read(requests, spare);
    for (const nbd::Incoming& incoming : requests) look_at(incoming.payload);
  }
}

Input info_data() {
  return Writer().number(4, 4).text("disk").number(2, 2).number(1, 2).number(3, 2).input();
}
Input meta_data() {
  return Writer()
      .number(4, 4)
      .text("disk")
      .number(2, 4)
      .number(15, 4)
      .text("base:allocation")
      .number(5, 4)
      .text("qemu:")
      .input();
}

}  // namespace

std::vector<Input> seed_inputs() {
  using enum nbd::Option;
  const auto start = [] { return Writer().number(3, 4); };
  const std::string payload(600, 'x');
  const Input name = Writer().text("disk").input();
  return {
      start().option(list).option(info, info_data()).option(abort).input(),
      start().option(export_name, name).request(0, 4096, 512).request(2, 0, 0).input(),
      start()
          .option(structured_reply)
          .option(list_meta_context, meta_data())
          .option(set_meta_context, meta_data())
          .option(go, info_data())
          .request(0, 0, 65536)
          .request(1, 512, 600)
          .text(payload)
          .request(7, 0, 1 << 20)
          .request(6, 0, 4096)
          .request(4, 4096, 4096)
          .request(2, 0, 0)
          .input(),
      start()
          .option(extended_headers)
          .option(set_meta_context, meta_data())
          .option(go, info_data())
          .extended_request(0, 0, 4096)
          .extended_request(0x200001, 0, 600)
          .text(payload)
          .extended_request(0x200007, 0, 12)
          .number(4096, 8)
          .number(0, 4)
          .input(),
      start().option(starttls).option(99, Input(300)).option(go, name).input(),
  };
}

}  // namespace qcowkit::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    qcowkit::fuzz::serve(std::as_bytes(std::span(data, size)));
  } catch (const qcowkit::Error&) {
    // What a client deserves that sends nonsense.
  }
  return 0;
}
