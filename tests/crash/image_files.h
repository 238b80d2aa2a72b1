// The files of one image in memory, and opening them.
#pragma once

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "formats/layer.h"
#include "formats/qcow2/metadata.h"
#include "qcowkit/image.h"
#include "storage/memory_storage.h"

namespace qcowkit::test {

/// What kind of image a test works on.
struct Shape {
  std::string name;
  CreateOptions options;  ///< `data_file` may be any name: the file lies in memory, too
  qcow2::MetadataOptions metadata;
  std::shared_ptr<Storage> backing;  ///< the raw backing file; null: there is none

  bool has_data_file() const noexcept { return !options.data_file.empty(); }
  bool has_backing() const noexcept { return backing != nullptr; }
  std::uint64_t disk_bytes() const noexcept { return *options.size_bytes; }
  std::uint64_t cluster_size() const noexcept { return options.cluster_size_bytes; }
  /// A discard cannot hide the backing file without a zero flag: then it does nothing.
  bool can_discard() const noexcept { return !has_backing() || options.version >= 3; }
};

/// For failing tests.
inline void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }

/// An image with `disk_bytes` and `cluster_size`; the rest as the format's defaults are.
Shape plain_shape(std::string name, std::uint64_t disk_bytes, std::uint64_t cluster_size);

/// Gives the image a raw backing file, which is a little shorter than the disk.
Shape with_backing(Shape shape);

/// Another storage for the same bytes.
std::unique_ptr<Storage> share(std::shared_ptr<Storage> storage);

/// An image's files, as they lie there.
struct ImageFiles {
  std::shared_ptr<MemoryStorage> image;
  std::shared_ptr<MemoryStorage> data_file;  ///< null if there is none

  ImageFiles clone() const;
};

/// A new, empty image.
ImageFiles create_image_files(const Shape& shape);
/// What the guest of a new image reads: the backing file, or zeroes.
std::vector<std::byte> initial_content(const Shape& shape);

/// An image with its backing file, open on any storages.
class OpenedImage {
 public:
  /// `check` and `repair` tolerate what check can tell of.
  enum class Mode { read_only, read_write, check, repair };

  OpenedImage(const Shape& shape, std::unique_ptr<Storage> image,
              std::unique_ptr<Storage> data_file, Mode mode);
  OpenedImage(const Shape& shape, const ImageFiles& files, Mode mode);
  /// With `layer` on top of the shape's backing file.
  OpenedImage(const Shape& shape, std::unique_ptr<Layer> layer);

  Layer& layer() noexcept { return *layer_; }
  /// The whole disk.
  std::vector<std::byte> read_all();
  CheckReport check(Repair repair = Repair::none) { return layer_->check({repair, {}, {}}); }

 private:
  std::unique_ptr<Layer> backing_;  // outlives the layer, which reads from it
  std::unique_ptr<Layer> layer_;
};

/// The first messages of a report, for a failing test to print.
std::string describe(const CheckReport& report);

}  // namespace qcowkit::test
