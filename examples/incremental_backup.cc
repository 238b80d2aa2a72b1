// Backs up what has changed since the last time, by a dirty bitmap of the disk's:
//
//   incremental_backup DISK.qcow2 BITMAP LAST.qcow2 NEW.qcow2
//
// NEW.qcow2 holds the areas that BITMAP has noted, on top of LAST.qcow2, the backup before; the
// first one is a copy of the whole disk, made before the bitmap was added. Afterwards the bitmap
// begins anew.
#include <qcowkit/image.h>

#include <algorithm>
#include <cstdio>
#include <vector>

namespace {

constexpr std::uint64_t kChunkBytes = 1 << 20;

void copy_range(qcowkit::Image& from, qcowkit::Image& to, std::uint64_t offset,
                std::uint64_t length_bytes) {
  std::vector<std::byte> chunk;
  for (const std::uint64_t end = offset + length_bytes; offset < end; offset += chunk.size()) {
    chunk.resize(std::min(kChunkBytes, end - offset));
    from.read(offset, chunk);
    to.write(offset, chunk);
  }
}

/// Returns how many bytes were copied.
std::uint64_t copy_dirty(qcowkit::Image& disk, const std::string& bitmap, qcowkit::Image& backup) {
  std::uint64_t copied_bytes = 0;
  for (std::uint64_t offset = 0; offset < disk.virtual_size();) {
    const qcowkit::BitmapExtent extent =
        disk.map_bitmap(bitmap, offset, disk.virtual_size() - offset);
    if (extent.is_dirty) {
      copy_range(disk, backup, offset, extent.length_bytes);
      copied_bytes += extent.length_bytes;
    }
    offset += extent.length_bytes;
  }
  return copied_bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: %s DISK.qcow2 BITMAP LAST.qcow2 NEW.qcow2\n", argv[0]);
    return 2;
  }
  const char* const bitmap = argv[2];
  try {
    qcowkit::OpenOptions writable;
    writable.format = "qcow2";
    writable.read_only = false;
    const auto disk = qcowkit::Image::open(argv[1], writable);  // nobody else writes it meanwhile

    qcowkit::CreateOptions create;
    create.format = "qcow2";
    create.size_bytes = disk->virtual_size();
    create.backing_file = argv[3];  // relative to NEW.qcow2
    create.backing_format = "qcow2";
    qcowkit::Image::create(argv[4], create);
    const auto backup = qcowkit::Image::open(argv[4], writable);

    const std::uint64_t copied_bytes = copy_dirty(*disk, bitmap, *backup);
    backup->close();  // durable before the bitmap forgets
    disk->clear_bitmap(bitmap);
    disk->close();
    std::printf("%llu bytes\n", static_cast<unsigned long long>(copied_bytes));
    return 0;
  } catch (const qcowkit::Error& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
}
