// Fuzz target: the partition tables of disks that servers export a part of.
#include <cstdlib>
#include <string_view>

#include "cli/failure.h"
#include "cli/nbd/partition.h"
#include "fuzz/fuzz_target.h"
#include "qcowkit/image.h"

namespace qcowkit::fuzz {

namespace {

constexpr std::size_t kSector = 512;
constexpr std::size_t kDiskBytes = 64 * kSector;

void put(Input& disk, std::size_t at, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) disk[at + i] = static_cast<std::uint8_t>(value >> 8 * i);
}
void put_text(Input& disk, std::size_t at, std::string_view text) {
  for (const char c : text) disk[at++] = static_cast<std::uint8_t>(c);
}

void put_entry(Input& disk, std::size_t table, int number, std::uint8_t type, std::uint32_t first,
               std::uint32_t count) {
  const std::size_t at = table * kSector + 446 + 16 * static_cast<std::size_t>(number);
  disk[at + 4] = type;
  put(disk, at + 8, first, 4);
  put(disk, at + 12, count, 4);
  put_text(disk, table * kSector + 510, "\x55\xaa");
}

Input mbr() {
  Input disk(16 * kSector);
  put_entry(disk, 0, 0, 0x83, 1, 4);
  put_entry(disk, 0, 1, 0x05, 6, 8);
  put_entry(disk, 6, 0, 0x83, 1, 1);
  put_entry(disk, 6, 1, 0x05, 3, 2);
  put_entry(disk, 9, 0, 0x83, 1, 1);
  return disk;
}

Input gpt() {
  Input disk(16 * kSector);
  put_entry(disk, 0, 0, 0xee, 1, 15);
  put_text(disk, kSector, "EFI PART");
  put(disk, kSector + 72, 2, 8);
  put(disk, kSector + 80, 8, 4);
  put(disk, kSector + 84, 128, 4);
  put(disk, 2 * kSector, 1, 8);
  put(disk, 2 * kSector + 32, 8, 8);
  put(disk, 2 * kSector + 40, 10, 8);
  return disk;
}

}  // namespace

std::vector<Input> seed_inputs() { return {mbr(), gpt()}; }

}  // namespace qcowkit::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace qcowkit;
  auto storage = make_memory_storage();
  storage->resize(fuzz::kDiskBytes, Preallocation::off);
  const iovec all{const_cast<std::uint8_t*>(data), std::min(size, fuzz::kDiskBytes)};
  if (size > 0) storage->writev(0, {&all, 1});
  OpenOptions options;
  options.format = "raw";
  const auto image = Image::open(std::move(storage), options);
  for (const std::uint32_t number : {1u, 2u, 5u, 6u, 128u}) {
    try {
      const auto found = cli::nbd::find_partition(*image, number);
      // Clients must never get beyond the disk.
      if (found.guest_offset > fuzz::kDiskBytes ||
          found.size_bytes > fuzz::kDiskBytes - found.guest_offset) {
        std::abort();
      }
    } catch (const cli::Failure&) {
      // There is no such partition.
    }
  }
  return 0;
}
