#include "tests/formats/qcow1/disk_shape.h"

#include "base/checked.h"
#include "formats/raw/raw_layer.h"
#include "tests/support/content.h"

namespace qcowkit::test {

namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;

const std::shared_ptr<const Secret>& password() {
  static const auto secret = std::make_shared<const Secret>(std::string_view("geheim"));
  return secret;
}

/// Content of all kinds, with holes, in pieces that are no clusters.
std::vector<std::byte> backing_content(const Qcow1Shape& shape) {
  constexpr std::uint64_t kPart = 7 * 512;
  std::vector<std::byte> bytes(align_down(shape.size_bytes * 3 / 4, 512));
  for (std::uint64_t at = 0; at < bytes.size(); at += kPart) {
    fill_content(at / kPart, std::span(bytes).subspan(at, std::min(kPart, bytes.size() - at)));
  }
  return bytes;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Qcow1Shape& shape) { return out << shape.name; }

std::vector<Qcow1Shape> qcow1_shapes() {
  return {
      {"Usual", 12, 9, 5 * kMiB + 512},
      {"OverBacking", 9, 12, 5 * kMiB / 2 + 1024, true},
      {"SmallTables", 9, 6, 100 * kKiB + 512},
      {"SmallTablesTinyCache", 9, 6, 100 * kKiB + 512, true, false, 1},
      {"LargeTablesTinyCache", 9, 13, 5 * kMiB, false, false, 1},
      {"LargeClusters", 16, 13, 4 * kMiB + 1536},
      {"LargeClustersOverBacking", 16, 6, 9 * kMiB / 2, true},
      {"OddSize", 12, 6, 600 * kKiB + 77},
      {"Encrypted", 12, 9, 3 * kMiB + 512, false, true},
      {"EncryptedOverBacking", 9, 12, 512 * kKiB, true, true},
      {"EncryptedLargeClusters", 16, 6, 9 * kMiB / 2, true, true, 1},
  };
}

void format_qcow1(Storage& storage, const Qcow1Shape& shape) {
  qcow1::Header header;
  header.size = shape.size_bytes;
  header.cluster_bits = shape.cluster_bits;
  header.l2_bits = shape.l2_bits;
  if (shape.is_encrypted) header.crypt_method = qcow1::CryptMethod::aes;
  if (shape.has_backing) header.backing_file = "base.raw";
  header.lay_out();
  storage.write(0, header.encode());
  storage.write_zeroes(header.l1_table_offset.value, header.l1_table_bytes(), {});
  storage.flush();
}

std::vector<std::byte> qcow1_initial_content(const Qcow1Shape& shape) {
  std::vector<std::byte> content;
  if (shape.has_backing) content = backing_content(shape);
  content.resize(shape.size_bytes);
  return content;
}

Qcow1Disk::Qcow1Disk(const Qcow1Shape& shape, std::unique_ptr<Storage> storage, Mode mode) {
  const qcow1::Header header = qcow1::Qcow1Layer::read_header(*storage);
  qcow1::LayerOptions options;
  options.read_only = mode == Mode::read_only;
  options.l2_cache_bytes = shape.l2_cache_bytes;
  if (shape.is_encrypted) options.secret = password();
  layer_ = std::make_unique<qcow1::Qcow1Layer>(std::move(storage), header, options);
  if (!shape.has_backing) return;
  auto below = std::make_unique<MemoryStorage>("base.raw");
  below->write(0, backing_content(shape));
  backing_ = std::make_unique<raw::RawLayer>(std::move(below), true);
  layer_->set_backing(backing_.get());
}

std::vector<std::byte> Qcow1Disk::read_all() {
  std::vector<std::byte> bytes(layer_->virtual_size());
  layer_->read({0}, bytes);
  return bytes;
}

}  // namespace qcowkit::test
