// An internal snapshot, made by the reference.
#include "tests/crash/internal_snapshot.h"

#include <stdexcept>
#include <string>

#include "formats/qcow2/qcow2_layer.h"
#include "formats/qcow2/snapshot_table.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::test {

namespace {

void copy(Storage& from, Storage& to) {
  std::vector<std::byte> bytes(from.size());
  from.read(0, bytes);
  to.resize(0, Preallocation::off);
  to.write(0, bytes);
}

}  // namespace

bool can_take_snapshots() { return have_command("qemu-img"); }

void take_snapshot(const ImageFiles& files) {
  const TempDir directory;
  const std::string path = directory.file("image");
  copy(*files.image, *open_file(path, {.create = true}));
  const CommandResult result = run({"qemu-img", "snapshot", "-c", "snapshot", path});
  if (!result.ok()) throw std::runtime_error("qemu-img snapshot: " + result.err);
  copy(*open_file(path, {.read_only = true}), *files.image);
}

std::vector<std::byte> read_snapshot(const Shape& shape, const ImageFiles& files) {
  qcow2::Header header = qcow2::Qcow2Layer::read_header(*files.image);
  const qcow2::SnapshotTable table = qcow2::read_snapshot_table(*files.image, header);
  header.l1_table_offset = table.entries.at(0).l1_table_offset;
  header.l1_size = table.entries.at(0).l1_size;
  qcow2::LayerOptions options;
  options.for_check = true;
  OpenedImage image(shape, std::make_unique<qcow2::Qcow2Layer>(share(files.image), nullptr,
                                                               std::move(header), options));
  return image.read_all();
}

}  // namespace qcowkit::test
