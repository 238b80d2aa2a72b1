// Fuzz target: headers of LUKS volumes, which are never unlocked.
#include "fuzz/image_target.h"

namespace qcowkit::fuzz {

namespace {

/// What a header takes beside the key material.
constexpr std::size_t kHeaderBytes = 592;

}  // namespace

std::vector<Input> seed_inputs() {
  CreateOptions options;
  options.format = "luks";
  options.size_bytes = 1 << 20;
  options.luks.iter_time_ms = 1;
  options.secret = std::make_shared<const Secret>("secret");
  Input volume = image_bytes(options, [](Image&) {});
  volume.resize(kHeaderBytes);
  return {volume};
}

}  // namespace qcowkit::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // The key material lies far behind the header: its bytes may be any, and zeroes are.
  std::vector<std::uint8_t> volume(data, data + size);
  volume.resize(std::max<std::size_t>(size, 3 << 20));
  qcowkit::fuzz::try_image(volume, "luks");
  return 0;
}
