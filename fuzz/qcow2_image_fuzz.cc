// Fuzz target: QCOW2 images, opened, mapped, read, checked and written to.
#include "fuzz/image_target.h"

namespace qcowkit::fuzz {

namespace {

constexpr std::uint64_t kCluster = 512;
constexpr std::uint64_t kDisk = 64 << 10;

CreateOptions options_of(std::uint32_t version) {
  CreateOptions options;
  options.format = "qcow2";
  options.size_bytes = kDisk;
  options.version = version;
  options.cluster_size_bytes = kCluster;
  return options;
}

Input with_all_kinds_of_clusters(const CreateOptions& options) {
  return image_bytes(options, [](Image& image) {
    const std::size_t cluster = image.cluster_size();
    const std::vector<std::byte> data(cluster, std::byte{7});
    image.write(0, data);
    image.write_compressed(2 * cluster, image.compress(data), data);
    image.write_zeroes(4 * cluster, cluster, true);
    image.write_zeroes(0, cluster / 2, false);
  });
}

}  // namespace

std::vector<Input> seed_inputs() {
  std::vector<Input> seeds;
  for (const std::uint32_t version : {2u, 3u}) {
    seeds.push_back(image_bytes(options_of(version), [](Image&) {}));
    seeds.push_back(with_all_kinds_of_clusters(options_of(version)));
  }
  CreateOptions narrow = options_of(3);
  narrow.refcount_bits = 1;
  seeds.push_back(with_all_kinds_of_clusters(narrow));
  seeds.push_back(image_bytes(options_of(3), [](Image& image) {
    image.add_bitmap({.name = "b0", .granularity_bytes = kCluster});
    image.write(kCluster, std::vector<std::byte>(kCluster, std::byte{1}));
    image.create_snapshot({.name = "s0"});
    image.write(kCluster, std::vector<std::byte>(kCluster, std::byte{2}));
  }));
  return seeds;
}

}  // namespace qcowkit::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  qcowkit::fuzz::try_image({data, size}, "qcow2");
  return 0;
}
