// Where a partition of a disk lies.
#include "cli/nbd/partition.h"

#include <fmt/core.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>

#include "base/sector.h"
#include "cli/failure.h"

namespace qcowkit::cli::nbd {

namespace {

constexpr std::size_t kMbrTable = 446;
constexpr std::size_t kMbrEntryBytes = 16;
constexpr std::uint32_t kMbrPrimaries = 4;
constexpr std::uint32_t kLogicalsMax = 124;
constexpr std::uint8_t kTypeGpt = 0xee;
constexpr std::uint64_t kGptEntryBytesMax = 4096;
constexpr std::size_t kGptEntryUsedBytes = 48;  // type, own id, first and last sector

using Sector = std::array<std::byte, kSectorBytes>;

/// Partition tables are little-endian.
std::uint64_t number_at(std::span<const std::byte> bytes, std::size_t at, std::size_t size) {
  std::uint64_t number = 0;
  for (std::size_t i = size; i-- > 0;)
    number = number << 8 | std::to_integer<unsigned>(bytes[at + i]);
  return number;
}

Sector read_sector(Image& image, std::uint64_t sector) {
  Sector bytes{};
  if (sector > image.virtual_size() / kSectorBytes ||
      (sector + 1) * kSectorBytes > image.virtual_size()) {
    throw Failure("the partition table reaches beyond the disk's end");
  }
  image.read(sector * kSectorBytes, bytes);
  return bytes;
}

struct MbrEntry {
  std::uint8_t type;
  std::uint64_t first_sector;
  std::uint64_t sectors;

  bool is_extended() const { return type == 0x05 || type == 0x0f || type == 0x85; }
};

std::optional<std::array<MbrEntry, kMbrPrimaries>> parse_mbr(const Sector& sector) {
  if (number_at(sector, 510, 2) != 0xaa55) return std::nullopt;
  std::array<MbrEntry, kMbrPrimaries> entries{};
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::size_t at = kMbrTable + i * kMbrEntryBytes;
    entries[i] = {std::to_integer<std::uint8_t>(sector[at + 4]), number_at(sector, at + 8, 4),
                  number_at(sector, at + 12, 4)};
  }
  return entries;
}

/// Each link of the chain in an extended partition has one logical partition and the next link.
std::optional<MbrEntry> find_logical(Image& image, const MbrEntry& extended, std::uint32_t number) {
  std::uint64_t link = extended.first_sector;
  for (std::uint32_t i = kMbrPrimaries + 1; i <= kMbrPrimaries + kLogicalsMax; ++i) {
    const auto entries = parse_mbr(read_sector(image, link));
    if (!entries) return std::nullopt;
    MbrEntry logical = (*entries)[0];
    if (i == number) {
      logical.first_sector += link;
      return logical;
    }
    if (!(*entries)[1].is_extended()) return std::nullopt;
    link = extended.first_sector + (*entries)[1].first_sector;
  }
  return std::nullopt;
}

std::optional<MbrEntry> find_in_gpt(Image& image, std::uint32_t number) {
  const Sector header = read_sector(image, 1);
  constexpr char kSignature[] = "EFI PART";
  if (std::memcmp(header.data(), kSignature, 8) != 0) {
    throw Failure("the disk's GPT has no signature 'EFI PART'");
  }
  const std::uint64_t table_sector = number_at(header, 72, 8);
  const std::uint64_t count = number_at(header, 80, 4);
  const std::uint64_t entry_bytes = number_at(header, 84, 4);
  if (entry_bytes < 128 || entry_bytes > kGptEntryBytesMax) {
    throw Failure(fmt::format("the disk's GPT has entries of {} bytes; 128 to {} are expected",
                              entry_bytes, kGptEntryBytesMax));
  }
  if (number > count) return std::nullopt;
  const std::uint64_t entry_offset = (number - 1) * entry_bytes;
  std::array<std::byte, kGptEntryUsedBytes> entry{};
  const std::uint64_t disk_bytes = image.virtual_size();
  if (table_sector > disk_bytes / kSectorBytes ||
      table_sector * kSectorBytes + entry_offset + entry.size() > disk_bytes) {
    throw Failure("the partition table reaches beyond the disk's end");
  }
  image.read(table_sector * kSectorBytes + entry_offset, entry);
  const std::uint64_t first = number_at(entry, 32, 8);
  const std::uint64_t last = number_at(entry, 40, 8);
  const bool is_used = number_at(entry, 0, 8) != 0 || number_at(entry, 8, 8) != 0;
  if (!is_used || last < first) return std::nullopt;
  return MbrEntry{kTypeGpt, first, last - first + 1};
}

std::optional<MbrEntry> find_entry(Image& image, std::uint32_t number) {
  const auto primaries = parse_mbr(read_sector(image, 0));
  if (!primaries) throw Failure("the disk has no partition table");
  if ((*primaries)[0].type == kTypeGpt) return find_in_gpt(image, number);
  if (number <= kMbrPrimaries) return (*primaries)[number - 1];
  for (const MbrEntry& entry : *primaries) {
    if (entry.is_extended()) return find_logical(image, entry, number);
  }
  return std::nullopt;
}

}  // namespace

Partition find_partition(Image& image, std::uint32_t number) {
  const std::optional<MbrEntry> entry = find_entry(image, number);
  if (!entry || entry->type == 0 || entry->sectors == 0) {
    throw Failure(fmt::format("Could not find partition {}", number));
  }
  const std::uint64_t disk_sectors = image.virtual_size() / kSectorBytes;
  if (entry->first_sector > disk_sectors || entry->sectors > disk_sectors - entry->first_sector) {
    throw Failure(fmt::format("partition {} reaches beyond the disk's end", number));
  }
  return {entry->first_sector * kSectorBytes, entry->sectors * kSectorBytes};
}

}  // namespace qcowkit::cli::nbd
