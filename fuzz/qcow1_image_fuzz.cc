// Fuzz target: QCOW version 1 images, opened, mapped, read and written to.
#include "fuzz/image_target.h"

namespace qcowkit::fuzz {

std::vector<Input> seed_inputs() {
  CreateOptions options;
  options.format = "qcow";
  options.size_bytes = 256 << 10;
  return {
      image_bytes(options, [](Image&) {}),
      image_bytes(options,
                  [](Image& image) {
                    const std::vector<std::byte> data(image.cluster_size(), std::byte{7});
                    image.write(0, data);
                    image.write_compressed(2 * data.size(), image.compress(data), data);
                  }),
  };
}

}  // namespace qcowkit::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  qcowkit::fuzz::try_image({data, size}, "qcow");
  return 0;
}
