#include "formats/qcow2/bitmaps.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <set>
#include <utility>

#include "formats/qcow2/limits.h"

namespace qcowkit::qcow2 {

namespace {

// The reference's: a cluster, but neither less than a page nor more than 64 KiB.
constexpr std::uint64_t kDefaultGranularityBytesMin = 4096;
constexpr std::uint64_t kDefaultGranularityBytesMax = 65536;

std::uint32_t granularity_bits_for(std::uint64_t granularity_bytes, const Geometry& g) {
  if (granularity_bytes == 0) {
    granularity_bytes =
        std::clamp(g.cluster_size(), kDefaultGranularityBytesMin, kDefaultGranularityBytesMax);
  }
  const auto bits = static_cast<std::uint32_t>(std::countr_zero(granularity_bytes));
  if (!std::has_single_bit(granularity_bytes) || bits < kBitmapGranularityBitsMin ||
      bits > kBitmapGranularityBitsMax) {
    throw Error(Errc::invalid_argument, "Granularity must be power of 2 and at least 512");
  }
  return bits;
}

bool has_incompatible_data(const BitmapEntry& entry) noexcept {
  return !entry.extra_data.empty() && !entry.extra_data_compatible;
}

void require_usable(const BitmapEntry& entry) {
  if (entry.in_use) {
    throw Error(Errc::corrupt,
                fmt::format("Bitmap '{}' is inconsistent and cannot be used", entry.name));
  }
  if (has_incompatible_data(entry)) {
    throw Error(Errc::unsupported,
                fmt::format("Bitmap '{}' has extra data of an unknown kind and cannot be used",
                            entry.name));
  }
}

BitmapInfo described(const BitmapEntry& entry) {
  return {
      .name = entry.name,
      .granularity_bytes = entry.granularity_bytes(),
      .in_use = entry.in_use,
      .automatic = entry.automatic,
  };
}

/// The bitmaps extension that names these entries; none for no entries.
void set_directory(Header& header, std::size_t entries, std::uint64_t bytes, HostOffset place) {
  if (entries == 0) {
    header.bitmaps.reset();
    header.autoclear_features &= ~autoclear::kBitmaps;
    return;
  }
  header.bitmaps = BitmapsExtension{static_cast<std::uint32_t>(entries), bytes, place};
  header.autoclear_features |= autoclear::kBitmaps;
}

}  // namespace

Bitmaps::Bitmaps(Metadata& metadata) : metadata_(metadata) { reload(); }

void Bitmaps::reload() {
  const MutexLock lock(mutex_);
  is_read_ = false;
  must_store_ = false;
  following_.clear();
  bitmaps_.clear();
  directory_.clear();
  state_ = metadata_.header().bitmaps ? State::unknown : State::none_follow;
}

void Bitmaps::read_directory() {
  if (is_read_) return;
  const Header header = metadata_.header();
  directory_ = read_bitmap_directory(metadata_.storage(), header);
  for (std::size_t i = 0; i < directory_.size(); ++i) {
    bitmaps_.push_back(std::make_unique<Tracked>(Tracked{directory_[i], i, nullptr}));
  }
  data_bytes_left_ = metadata_.storage().size();
  is_read_ = true;
}

Bitmaps::Tracked& Bitmaps::find(const std::string& name) {
  read_directory();
  const auto found = std::ranges::find_if(
      bitmaps_, [&](const auto& bitmap) { return bitmap->entry.name == name; });
  if (found == bitmaps_.end()) {
    throw Error(Errc::invalid_argument, fmt::format("Dirty bitmap '{}' not found", name));
  }
  return **found;
}

Bitmaps::Tracked& Bitmaps::find_usable(const std::string& name) {
  Tracked& bitmap = find(name);
  require_usable(bitmap.entry);
  return bitmap;
}

BitmapBits& Bitmaps::bits_of(Tracked& bitmap) {
  if (bitmap.bits == nullptr) {
    try {
      bitmap.bits =
          read_bitmap_bits(metadata_.storage(), bitmap.entry, metadata_.header(), data_bytes_left_);
    } catch (const Error& error) {
      throw error.within(fmt::format("Could not read bitmap '{}' from image", bitmap.entry.name));
    }
  }
  return *bitmap.bits;
}

// --- Asking and marking ------------------------------------------------------------------------

std::vector<BitmapInfo> Bitmaps::list() {
  const MutexLock lock(mutex_);
  read_directory();
  std::vector<BitmapInfo> told;
  for (const auto& bitmap : bitmaps_) told.push_back(described(bitmap->entry));
  return told;
}

std::optional<std::vector<BitmapInfo>> Bitmaps::list_if_read() {
  {
    const MutexLock lock(mutex_);
    if (!is_read_) return std::nullopt;
  }
  return list();
}

BitmapExtent Bitmaps::map(const std::string& name, GuestOffset guest_offset,
                          std::uint64_t length_bytes) {
  const MutexLock lock(mutex_);
  return bits_of(find_usable(name)).find(guest_offset, length_bytes);
}

void Bitmaps::mark(const std::string& name, GuestOffset guest_offset, std::uint64_t length_bytes) {
  const MutexLock lock(mutex_);
  bits_of(find_usable(name)).mark(guest_offset, length_bytes);
  must_store_ = true;
}

// --- Before the disk changes -------------------------------------------------------------------

void Bitmaps::prepare() {
  const MutexLock lock(mutex_);
  if (state_.load(std::memory_order_relaxed) != State::unknown) return;  // somebody was faster
  read_directory();
  std::vector<BitmapBits*> following;
  for (const auto& bitmap : bitmaps_) {
    // One that was found in use is outdated already.
    if (!bitmap->entry.automatic || bitmap->entry.in_use) continue;
    require_usable(bitmap->entry);
    following.push_back(&bits_of(*bitmap));
  }
  announce(false);
  following_ = std::move(following);
  state_.store(following_.empty() ? State::none_follow : State::some_follow,
               std::memory_order_release);
}

void Bitmaps::announce(bool all) {
  std::vector<BitmapEntry> announced = directory_;
  for (BitmapEntry& entry : announced) entry.in_use |= all || entry.automatic;
  for (const auto& bitmap : bitmaps_) {
    if (bitmap->stored && bitmap->entry.automatic) announced[*bitmap->stored].in_use = true;
  }
  if (announced == directory_) return;
  // In place: a flag is one bit of one sector, and none of them is ever set too early.
  metadata_.storage().write(metadata_.header().bitmaps->bitmap_directory_offset.value,
                            encode_bitmap_directory(announced));
  metadata_.flush();
  directory_ = std::move(announced);
  must_store_ = true;
}

void Bitmaps::before_resize(std::uint64_t disk_bytes) {
  const MutexLock lock(mutex_);
  if (disk_bytes == metadata_.header().size) return;
  read_directory();
  for (const auto& bitmap : bitmaps_) {
    if (bitmap->entry.in_use) continue;  // its size is outdated like the rest of it
    require_usable(bitmap->entry);
    require_bitmap_fits(disk_bytes, bitmap->entry.granularity_bits);
    bits_of(*bitmap);
  }
  // Also those that do not follow: the directory tells their size.
  announce(true);
}

void Bitmaps::resize(std::uint64_t disk_bytes) {
  const MutexLock lock(mutex_);
  for (const auto& bitmap : bitmaps_) {
    if (bitmap->bits != nullptr) bitmap->bits->resize(disk_bytes);
  }
}

// --- Adding, removing and changing bitmaps -----------------------------------------------------

/// Throws `Error` if the bitmaps could not be stored with this one among them.
void Bitmaps::require_room_for(const BitmapEntry& added) {
  Header header = metadata_.header();
  if (header.version < 3) {
    throw Error(Errc::unsupported, "Cannot store dirty bitmaps in qcow2 v2 files");
  }
  if (added.name.size() > kBitmapNameBytesMax) {
    throw Error(Errc::limit_exceeded, fmt::format("Name length exceeds maximum ({} characters)",
                                                  std::uint32_t{kBitmapNameBytesMax}));
  }
  require_bitmap_fits(header.size, added.granularity_bits);
  std::vector<BitmapEntry> entries;
  for (const auto& bitmap : bitmaps_) entries.push_back(bitmap->entry);
  entries.push_back(added);
  const std::uint64_t bytes = encode_bitmap_directory(entries).size();
  set_directory(header, entries.size(), bytes, {});
  header.encode();  // refuses what does not fit into a cluster
}

void Bitmaps::add(const Image::NewBitmap& bitmap) {
  const MutexLock lock(mutex_);
  read_directory();
  if (bitmap.name.empty()) throw Error(Errc::invalid_argument, "Bitmap name cannot be empty");
  if (bitmap.name.find('\0') != std::string::npos) {
    throw Error(Errc::invalid_argument, "Bitmap name cannot contain a zero byte");
  }
  if (std::ranges::any_of(bitmaps_,
                          [&](const auto& other) { return other->entry.name == bitmap.name; })) {
    throw Error(Errc::invalid_argument, fmt::format("Bitmap already exists: {}", bitmap.name));
  }
  auto added = std::make_unique<Tracked>();
  added->entry.name = bitmap.name;
  added->entry.granularity_bits =
      granularity_bits_for(bitmap.granularity_bytes, metadata_.geometry());
  added->entry.automatic = bitmap.enabled;
  try {
    require_room_for(added->entry);
  } catch (const Error& error) {
    throw error.within(fmt::format("Can't make bitmap '{}' persistent in '{}'", bitmap.name,
                                   metadata_.storage().name()));
  }
  added->bits =
      std::make_unique<BitmapBits>(metadata_.header().size, added->entry.granularity_bits);
  bitmaps_.push_back(std::move(added));
  must_store_ = true;
  state_ = State::unknown;
}

void Bitmaps::remove(const std::string& name) {
  const MutexLock lock(mutex_);
  const Tracked& removed = find(name);
  std::erase_if(bitmaps_, [&](const auto& bitmap) { return bitmap.get() == &removed; });
  must_store_ = true;
  state_ = State::unknown;
}

void Bitmaps::clear(const std::string& name) {
  const MutexLock lock(mutex_);
  Tracked& bitmap = find_usable(name);
  const std::uint64_t disk_bytes = metadata_.header().size;
  require_bitmap_fits(disk_bytes, bitmap.entry.granularity_bits);
  bitmap.bits = std::make_unique<BitmapBits>(disk_bytes, bitmap.entry.granularity_bits);
  bitmap.bits->note_changed();
  must_store_ = true;
  state_ = State::unknown;
}

void Bitmaps::enable(const std::string& name, bool enabled) {
  const MutexLock lock(mutex_);
  Tracked& bitmap = find_usable(name);
  if (bitmap.entry.automatic == enabled) return;
  if (enabled) bits_of(bitmap);  // rather fails here than with the next write
  bitmap.entry.automatic = enabled;
  must_store_ = true;
  state_ = State::unknown;
}

// --- Storing -----------------------------------------------------------------------------------

BitmapEntry Bitmaps::write_bitmap(Tracked& bitmap, Reservations& reservations) {
  BitmapEntry entry = bitmap.entry;
  const bool is_stored = bitmap.stored && (bitmap.bits == nullptr || !bitmap.bits->has_changed());
  if (!is_stored) write_bitmap_bits(metadata_, *bitmap.bits, entry, reservations);
  return entry;
}

/// What the present directory refers to and one with `entries` does not.
std::vector<HostRange> Bitmaps::clusters_replaced_by(const std::vector<BitmapEntry>& entries) {
  std::set<HostOffset> tables;
  for (const BitmapEntry& entry : entries) tables.insert(entry.table_offset);
  std::vector<HostRange> clusters;
  for (const BitmapEntry& old : directory_) {
    if (tables.contains(old.table_offset)) continue;
    const std::vector<HostRange> of_bitmap =
        clusters_of_bitmap(metadata_.storage(), old, metadata_.geometry());
    clusters.insert(clusters.end(), of_bitmap.begin(), of_bitmap.end());
  }
  if (const std::optional<BitmapsExtension> present = metadata_.header().bitmaps) {
    clusters.push_back({present->bitmap_directory_offset, present->bitmap_directory_size});
  }
  return clusters;
}

/// Makes the header name a directory with these entries. The reservations are theirs.
void Bitmaps::switch_directory(const std::vector<BitmapEntry>& entries,
                               Reservations& reservations) {
  const std::vector<std::byte> bytes = encode_bitmap_directory(entries);
  HostOffset place{};
  if (!entries.empty()) {
    place = metadata_.write_table(bytes);
    reservations.emplace_back(
        metadata_, place,
        metadata_.geometry().clusters_for(bytes.size()) * metadata_.geometry().cluster_size());
  }
  metadata_.flush();
  // If the header cannot be written, nobody knows whether it was: then the clusters leak.
  for (auto& reservation : reservations) reservation.commit(~std::uint64_t{0});
  metadata_.change_header(
      [&](Header& header) { set_directory(header, entries.size(), bytes.size(), place); });
}

void Bitmaps::store() {
  const MutexLock lock(mutex_);
  if (!must_store_) return;
  metadata_.before_change();
  try {
    write_all();
    return;
  } catch (const Error& error) {
    // Freed clusters become usable with a flush only.
    if (error.code() != std::errc::no_space_on_device || !metadata_.can_reclaim()) throw;
  }
  metadata_.flush();
  write_all();
}

void Bitmaps::write_all() {
  Reservations reservations;
  std::vector<BitmapEntry> entries;
  for (const auto& bitmap : bitmaps_) entries.push_back(write_bitmap(*bitmap, reservations));
  const std::vector<HostRange> replaced = clusters_replaced_by(entries);
  switch_directory(entries, reservations);
  for (const HostRange& range : replaced) metadata_.defer_free(range.host_offset, range.bytes);

  for (std::size_t i = 0; i < bitmaps_.size(); ++i) {
    bitmaps_[i]->entry = entries[i];
    bitmaps_[i]->stored = i;
    if (bitmaps_[i]->bits != nullptr) bitmaps_[i]->bits->note_stored();
  }
  directory_ = std::move(entries);
  must_store_ = false;
  state_ = directory_.empty() ? State::none_follow : State::unknown;
}

}  // namespace qcowkit::qcow2
