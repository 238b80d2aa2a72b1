#include "formats/qcow2/header_writer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "base/checked.h"
#include "formats/qcow2/limits.h"

namespace qcowkit::qcow2 {

namespace {

using Bytes = std::vector<std::byte>;

std::size_t fixed_bytes(const Header& header) noexcept {
  return header.version >= 3 ? kHeaderBytesV3Min : kHeaderBytesV2;
}

/// True if the two differ in fields of fixed size only.
bool differ_in_fields_only(const Header& present, const Bytes& old_area, const Header& changed,
                           const Bytes& new_area) {
  if (present.version != changed.version || old_area.size() != new_area.size()) return false;
  const auto fixed = static_cast<std::ptrdiff_t>(fixed_bytes(present));
  return present.backing_file == changed.backing_file &&
         std::equal(old_area.begin() + fixed, old_area.end(), new_area.begin() + fixed);
}

/// Does `work` and, if that fails, `undo`.
template <typename Work, typename Undo>
void do_or_undo(Work work, Undo undo) {
  try {
    work();
  } catch (const Error& error) {
    try {
      undo();
    } catch (const Error&) {
      throw UnknownHeader(error);
    }
    throw;
  }
}

/// Changes the fields in the first sector, which may be laid out otherwise than we would.
void patch_fields(Storage& storage, const Header& changed, const Bytes& new_area) {
  std::array<std::byte, kSectorBytes> old_sector;
  storage.read(0, old_sector);
  std::array<std::byte, kSectorBytes> sector = old_sector;
  // The backing file name stays where it is.
  constexpr std::size_t kNameFields = offsetof(RawHeader, backing_file_offset);
  constexpr std::size_t kBehindNameFields = offsetof(RawHeader, cluster_bits);
  std::copy_n(new_area.begin(), kNameFields, sector.begin());
  std::copy(new_area.begin() + kBehindNameFields,
            new_area.begin() + static_cast<std::ptrdiff_t>(fixed_bytes(changed)),
            sector.begin() + kBehindNameFields);
  do_or_undo([&] { storage.write(0, sector); }, [&] { storage.write(0, old_sector); });
}

std::size_t size_without_trailing_zeroes(const Bytes& bytes) noexcept {
  const auto last =
      std::find_if(bytes.rbegin(), bytes.rend(), [](std::byte b) { return b != std::byte{0}; });
  return static_cast<std::size_t>(bytes.rend() - last);
}

/// Replaces more than one sector, by way of an interim header that needs the first one only and
/// has the backing file name behind everything else.
void replace_by_way_of(const Bytes& interim, Storage& storage, const Header& changed,
                       const Bytes& area, const Bytes& old_area,
                       const std::function<void()>& barrier) {
  const auto name = std::as_bytes(std::span(changed.backing_file));
  const auto behind_first = [](const Bytes& bytes, std::size_t size) {
    return std::span(bytes).first(size).subspan(kSectorBytes);
  };
  const auto first = [](const Bytes& bytes) { return std::span(bytes).first(kSectorBytes); };
  if (!name.empty()) {
    storage.write(area.size(), name);
    barrier();
  }
  do_or_undo(
      [&] {
        storage.write(0, interim);
        barrier();
        storage.write(kSectorBytes, behind_first(area, area.size()));
        barrier();
        storage.write(0, first(area));
      },
      [&] {
        storage.write(0, interim);
        barrier();
        storage.write(kSectorBytes, behind_first(old_area, area.size()));
        barrier();
        storage.write(0, first(old_area));
      });
  if (name.empty()) return;
  barrier();
  try {
    storage.write(area.size(), Bytes(name.size()));
  } catch (const Error&) {
    // Nothing refers to these bytes any more.
  }
}

/// Replaces more than one sector.
void replace_area(Storage& storage, const Header& changed, const Bytes& new_area,
                  const std::function<void()>& barrier) {
  const std::uint64_t cluster_size = changed.geometry().cluster_size();
  Bytes old_area(cluster_size);
  storage.read(0, old_area);
  const std::size_t old_size = size_without_trailing_zeroes(old_area);
  const std::size_t size = std::min<std::size_t>(
      cluster_size, align_up(std::max(old_size, new_area.size()), kSectorBytes));
  Bytes padded = new_area;
  padded.resize(size);
  const bool only_first_sector =
      std::equal(padded.begin() + kSectorBytes, padded.end(), old_area.begin() + kSectorBytes);
  const std::optional<Bytes> interim = changed.encode_in_sector(size);
  const bool name_fits = size + changed.backing_file.size() <= cluster_size;
  if (!only_first_sector && interim && name_fits) {
    replace_by_way_of(*interim, storage, changed, padded, old_area, barrier);
    return;
  }
  // Without room for an interim header, the change is as atomic as the medium makes it.
  do_or_undo([&] { storage.write(0, padded); },
             [&] { storage.write(0, std::span(old_area).first(size)); });
}

}  // namespace

void write_header(Storage& storage, const Header& present, const Header& changed,
                  const std::function<void()>& barrier) {
  const Bytes old_area = present.encode();
  const Bytes new_area = changed.encode();
  if (differ_in_fields_only(present, old_area, changed, new_area)) {
    patch_fields(storage, changed, new_area);
  } else {
    replace_area(storage, changed, new_area, barrier);
  }
}

}  // namespace qcowkit::qcow2
