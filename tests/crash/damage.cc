// Damage to the refcounts of an image.
#include "tests/crash/damage.h"

#include <array>
#include <vector>

#include "base/endian.h"
#include "formats/qcow2/l1_entry.h"
#include "formats/qcow2/qcow2_layer.h"
#include "formats/qcow2/refcount_block.h"

namespace qcowkit::test {

namespace {

std::uint64_t load_word(MemoryStorage& storage, std::uint64_t host_offset) {
  std::array<std::byte, 8> bytes;
  storage.read(host_offset, bytes);
  return load_big_endian<std::uint64_t>(bytes.data());
}

void store_word(MemoryStorage& storage, std::uint64_t host_offset, std::uint64_t value) {
  std::array<std::byte, 8> bytes;
  store_big_endian(bytes.data(), value);
  storage.write(host_offset, bytes);
}

}  // namespace

Damage::Damage(const ImageFiles& files)
    : image_(*files.image),
      header_(qcow2::Qcow2Layer::read_header(image_)),
      geometry_(header_.geometry()) {}

std::uint64_t Damage::host_clusters() const { return geometry_.clusters_for(image_.size()); }

/// 0 if there is no refcount block for the cluster.
std::uint64_t Damage::block_offset(std::uint64_t cluster) {
  const std::uint64_t block = cluster >> geometry_.refcount_block_bits();
  const std::uint64_t entries =
      header_.refcount_table_clusters * geometry_.refcount_table_entries_per_cluster();
  return block < entries ? load_word(image_, header_.refcount_table_offset.value + block * 8) : 0;
}

std::uint64_t Damage::refcount_of(std::uint64_t cluster) {
  const std::uint64_t offset = block_offset(cluster);
  if (offset == 0) return 0;
  std::vector<std::byte> block(geometry_.cluster_size());
  image_.read(offset, block);
  return qcow2::load_refcount(block.data(), cluster & (geometry_.refcount_block_entries() - 1),
                              geometry_.refcount_order());
}

void Damage::set_refcount(std::uint64_t cluster, std::uint64_t refcount) {
  const std::uint64_t offset = block_offset(cluster);
  if (offset == 0) return;
  std::vector<std::byte> block(geometry_.cluster_size());
  image_.read(offset, block);
  qcow2::store_refcount(block.data(), cluster & (geometry_.refcount_block_entries() - 1),
                        geometry_.refcount_order(), refcount);
  image_.write(offset, block);
}

void Damage::leak(std::uint64_t count) {
  const std::uint64_t first = host_clusters();
  image_.resize((first + count) << geometry_.cluster_bits(), Preallocation::off);
  for (std::uint64_t cluster = first; cluster < first + count; ++cluster) set_refcount(cluster, 1);
}

void Damage::forget(std::uint64_t every) {
  constexpr std::uint64_t kFirst = 4;  // behind the header, the refcounts and the L1 table
  for (std::uint64_t cluster = kFirst; cluster < host_clusters(); cluster += every) {
    set_refcount(cluster, 0);
  }
}

void Damage::clear_copied_flags() {
  for (std::uint64_t i = 0; i < header_.l1_size; ++i) {
    const std::uint64_t at = header_.l1_table_offset.value + i * 8;
    const qcow2::L1Entry entry(load_word(image_, at));
    if (entry.has_table())
      store_word(image_, at, qcow2::L1Entry::table(entry.l2_table(), false).raw());
  }
}

void Damage::lose_refcount_block() { store_word(image_, header_.refcount_table_offset.value, 0); }

void Damage::mark_dirty() {
  store_word(image_, offsetof(qcow2::RawHeader, incompatible_features),
             header_.incompatible_features | qcow2::incompatible::kDirty);
}

}  // namespace qcowkit::test
