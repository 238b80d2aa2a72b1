// Comparing what the image holds, and says of itself, with what it must.
#include <fmt/core.h>

#include <algorithm>
#include <stdexcept>

#include "tests/image/life_disk.h"
#include "tests/support/content.h"
#include "tests/support/modelled_image.h"
#include "tests/support/reference_tools.h"

namespace qcowkit::test {

namespace {

std::optional<std::string> first_difference(const char* what, std::span<const std::byte> found,
                                            std::span<const std::byte> expected) {
  if (test::same_bytes(found, expected)) return std::nullopt;
  const auto [here, there] =
      std::mismatch(found.begin(), found.end(), expected.begin(), expected.end());
  if (here == found.end() || there == expected.end()) {
    return fmt::format("{} has {} bytes, expected {}", what, found.size(), expected.size());
  }
  return fmt::format("{}: byte {} is {:#x}, expected {:#x}", what, here - found.begin(),
                     static_cast<unsigned>(*here), static_cast<unsigned>(*there));
}

}  // namespace

std::optional<std::string> LifeDisk::compare_held(Image& image, const Held& held) const {
  std::vector<std::byte> disk(image.virtual_size());
  image.read(0, disk);
  if (auto wrong = first_difference("disk", disk, held.disk)) return wrong;
  if (config_.data_file) return std::nullopt;
  std::vector<std::byte> expected = held.vm_state;
  expected.resize(expected.size() + cluster());
  std::vector<std::byte> vm_state(expected.size());
  image.read_vm_state(0, vm_state);
  return first_difference("VM state", vm_state, expected);
}

/// Each snapshot as a reader of its own sees it.
std::optional<std::string> LifeDisk::compare_snapshots() const {
  if (config_.data_file) return std::nullopt;
  const std::vector<SnapshotInfo> told = image_->snapshots();
  if (told.size() != snapshots_.size()) {
    return fmt::format("{} snapshots, expected {}", told.size(), snapshots_.size());
  }
  for (std::size_t i = 0; i < told.size(); ++i) {
    const Snapshot& expected = snapshots_[i];
    if (told[i].id != expected.id || told[i].disk_size_bytes != expected.held.disk.size() ||
        told[i].vm_state_size_bytes != expected.vm_state_size_bytes) {
      return fmt::format("snapshot {} is told to have {} bytes, id {}", i, told[i].disk_size_bytes,
                         told[i].id);
    }
    OpenOptions options = open_options(true);
    options.locking = Locking::force_share;
    options.snapshot.id = expected.id;
    const auto view = Image::open(path_, options);
    if (auto wrong = compare_held(*view, expected.held)) {
      return "snapshot " + expected.id + ": " + *wrong;
    }
  }
  return std::nullopt;
}

std::optional<std::string> LifeDisk::check(bool leaks_are_errors) {
  return what_check_finds(*image_, leaks_are_errors);
}

std::optional<std::string> LifeDisk::compare_options() const {
  const ImageInfo info = image_->info();
  const ImageInfo::Qcow2& found = info.qcow2.value();
  if (found.version == version_ && found.refcount_bits == refcount_bits_ &&
      found.lazy_refcounts == lazy_refcounts_ && info.backing_file == backing_name_ &&
      info.virtual_size_bytes == now_.disk.size() && !found.corrupt) {
    return std::nullopt;
  }
  return fmt::format("version {}, refcount_bits {}, lazy_refcounts {}, backing file {}, size {}",
                     found.version, found.refcount_bits, found.lazy_refcounts, info.backing_file,
                     info.virtual_size_bytes);
}

std::optional<std::string> LifeDisk::examine(bool leaks_are_errors) {
  if (auto wrong = check(leaks_are_errors)) return wrong;
  if (auto wrong = compare_options()) return wrong;
  if (image_->info().dirty) return "the image is marked dirty after a check";
  if (auto wrong = compare_held(*image_, now_)) return wrong;
  return compare_snapshots();
}

std::optional<std::string> LifeDisk::ask_reference() const try {
  if (is_encrypted()) return std::nullopt;  // the tools need the key for everything
  if (auto wrong = test::ask_reference(path_, now_.disk)) return wrong;
  for (const Snapshot& snapshot : snapshots_) {
    // Of a snapshot of another size, the reference shows as much as the disk has now.
    if (snapshot.held.disk.size() != now_.disk.size()) continue;
    const std::string raw = path_ + ".snapshot";
    qemu_img({"convert", "-t", "unsafe", "-f", "qcow2", "-O", "raw", "-l",
              "snapshot.id=" + snapshot.id, path_, raw});
    std::vector<std::byte> found = read_file(raw);
    found.resize(snapshot.held.disk.size());  // the reference rounds up to sectors
    if (auto wrong = first_difference("snapshot, by the reference", found, snapshot.held.disk)) {
      return wrong;
    }
  }
  return std::nullopt;
} catch (const std::exception& error) {
  return std::string(error.what());
}

}  // namespace qcowkit::test
