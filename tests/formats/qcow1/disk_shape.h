// Kinds of version 1 images to try things on, in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "formats/qcow1/qcow1_layer.h"
#include "qcowkit/image.h"
#include "storage/memory_storage.h"

namespace qcowkit::test {

struct Qcow1Shape {
  std::string name;
  std::uint32_t cluster_bits = 12;
  std::uint32_t l2_bits = 9;
  std::uint64_t size_bytes = 0;
  bool has_backing = false;
  bool is_encrypted = false;
  std::uint64_t l2_cache_bytes = 0;

  std::uint64_t cluster_size() const { return std::uint64_t{1} << cluster_bits; }
  std::uint64_t table_covers() const { return std::uint64_t{1} << (cluster_bits + l2_bits); }
};
std::ostream& operator<<(std::ostream& out, const Qcow1Shape& shape);

/// Shapes of all sorts, with disks that take several L2 tables where that is cheap.
std::vector<Qcow1Shape> qcow1_shapes();

/// A new image. Also shapes that `create_image` does not make.
void format_qcow1(Storage& storage, const Qcow1Shape& shape);

/// The content of a new image's disk: what its backing file, which is shorter than it, shows.
std::vector<std::byte> qcow1_initial_content(const Qcow1Shape& shape);

/// A layer and the layer that it reads from where it has nothing itself.
class Qcow1Disk {
 public:
  enum class Mode { read_only, read_write };
  /// `storage` is the image's; it is closed with the layer.
  Qcow1Disk(const Qcow1Shape& shape, std::unique_ptr<Storage> storage,
            Mode mode = Mode::read_write);

  qcow1::Qcow1Layer& layer() noexcept { return *layer_; }
  std::vector<std::byte> read_all();

 private:
  std::unique_ptr<Layer> backing_;
  std::unique_ptr<qcow1::Qcow1Layer> layer_;
};

}  // namespace qcowkit::test
