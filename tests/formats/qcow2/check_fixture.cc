#include "tests/formats/qcow2/check_fixture.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string_view>

#include "base/endian.h"
#include "formats/qcow2/check.h"
#include "formats/qcow2/l1_entry.h"
#include "formats/qcow2/l2_entry.h"
#include "formats/qcow2/refcount_block.h"
#include "tests/formats/qcow2/header_fixture.h"
#include "tests/support/content.h"

namespace qcowkit::qcow2::test {

namespace {

constexpr std::uint64_t kRefcountBlocks = 2;

template <typename T>
void append_big_endian(std::string& to, T value) {
  char raw[sizeof(T)];
  store_big_endian(raw, value);
  to.append(raw, sizeof raw);
}

}  // namespace

SmallImage::SmallImage(const ImageShape& image_shape)
    : shape(image_shape),
      g(image_shape.cluster_bits, image_shape.refcount_order, image_shape.extended_l2) {
  append();
  refcount_table_offset = append() << g.cluster_bits();
  const std::uint64_t blocks = append(kRefcountBlocks);
  for (std::uint64_t i = 0; i < kRefcountBlocks; ++i) {
    set64(refcount_table_offset + i * 8, (blocks + i) << g.cluster_bits());
  }
  l1_offset = append() << g.cluster_bits();
}

std::uint64_t SmallImage::append(std::uint64_t clusters) {
  const std::uint64_t first = refcounts_.size();
  refcounts_.resize(first + clusters, 1);
  bytes.resize(refcounts_.size() << g.cluster_bits());
  return first;
}

void SmallImage::fill(std::uint64_t offset, std::uint64_t content) {
  // 3 modulo 4: noise
  data_clusters.insert(cluster_of(offset));
  qcowkit::test::fill_content(content * 4 + 3, std::span(bytes).subspan(offset, g.cluster_size()));
}

std::uint64_t SmallImage::get64(std::uint64_t offset) const {
  return load_big_endian<std::uint64_t>(bytes.data() + offset);
}

void SmallImage::set64(std::uint64_t offset, std::uint64_t value) {
  store_big_endian(bytes.data() + offset, value);
}

void SmallImage::set32(std::uint64_t offset, std::uint32_t value) {
  store_big_endian(bytes.data() + offset, value);
}

std::uint64_t SmallImage::l2_table(std::uint64_t l1_index) const {
  return get64(l1_entry(l1_index)) & L1Entry::kOffsetMask;
}

std::uint64_t SmallImage::l2_entry(std::uint64_t guest_cluster) const {
  return l2_table(guest_cluster >> g.l2_bits()) +
         ((guest_cluster & (g.l2_entries() - 1)) << g.l2_entry_bits());
}

std::uint64_t SmallImage::data(std::uint64_t guest_cluster) const {
  return get64(l2_entry(guest_cluster)) & RawL2Entry::kOffsetMask;
}

std::uint64_t SmallImage::refcount_block(std::uint64_t index) const {
  return get64(refcount_table_offset + index * 8);
}

std::uint64_t SmallImage::refcount(std::uint64_t cluster) const {
  return load_refcount(bytes.data() + refcount_block(cluster >> g.refcount_block_bits()),
                       cluster & (g.refcount_block_entries() - 1), g.refcount_order());
}

void SmallImage::set_refcount(std::uint64_t cluster, std::uint64_t value) {
  store_refcount(bytes.data() + refcount_block(cluster >> g.refcount_block_bits()),
                 cluster & (g.refcount_block_entries() - 1), g.refcount_order(), value);
}

std::uint64_t SmallImage::own_l2_table(std::uint64_t l1_index) {
  const std::uint64_t old = l2_table(l1_index);
  if (old != 0 && refcounts_[cluster_of(old)] == 1) return old;
  const std::uint64_t table = append() << g.cluster_bits();
  if (old != 0) {
    std::memcpy(bytes.data() + table, bytes.data() + old, g.cluster_size());
    --refcounts_[cluster_of(old)];
  }
  set64(l1_entry(l1_index), table);
  return table;
}

void SmallImage::release(std::uint64_t guest_cluster) {
  const std::uint64_t raw = get64(l2_entry(guest_cluster));
  const std::uint64_t host_offset = raw & RawL2Entry::kOffsetMask;
  if (host_offset == 0 || shape.data_file) return;
  --refcounts_[cluster_of(host_offset)];
}

void SmallImage::put_entry(std::uint64_t guest_cluster, std::uint64_t descriptor,
                           std::uint64_t bitmap) {
  own_l2_table(guest_cluster >> g.l2_bits());
  release(guest_cluster);
  set64(l2_entry(guest_cluster), descriptor);
  if (g.extended_l2()) set64(l2_entry(guest_cluster) + 8, bitmap);
}

void SmallImage::map(std::uint64_t guest_cluster) {
  if (shape.data_file) {
    put_entry(guest_cluster, guest_cluster << g.cluster_bits() | RawL2Entry::kCopied, 0);
    return;
  }
  own_l2_table(guest_cluster >> g.l2_bits());
  const std::uint64_t host_offset = append() << g.cluster_bits();
  fill(host_offset, refcounts_.size());
  put_entry(guest_cluster, host_offset, 0xffffffff);
}

void SmallImage::map_zero(std::uint64_t guest_cluster) {
  map(guest_cluster);
  if (g.extended_l2()) {
    set64(l2_entry(guest_cluster) + 8, 0xffffffff00000000);
  } else {
    flip(l2_entry(guest_cluster), RawL2Entry::kZero);
  }
}

void SmallImage::map_plain_zero(std::uint64_t guest_cluster) {
  put_entry(guest_cluster, g.extended_l2() ? 0 : RawL2Entry::kZero, 0xffffffff00000000);
}

void SmallImage::map_compressed(std::uint64_t guest_cluster) {
  own_l2_table(guest_cluster >> g.l2_bits());
  const std::uint64_t length = g.cluster_size() / 3;
  if (g.in_cluster(compressed_end_) == 0) {
    const std::uint64_t cluster = append();
    fill(cluster << g.cluster_bits(), cluster);
    compressed_end_ = cluster << g.cluster_bits();
  } else {
    ++refcounts_[cluster_of(compressed_end_)];
  }
  if (g.in_cluster(compressed_end_) + length > g.cluster_size()) {
    const std::uint64_t cluster = append();
    fill(cluster << g.cluster_bits(), cluster);
    // A stream that crosses into the next cluster only works where that is the next.
    if (cluster != cluster_of(compressed_end_) + 1) {
      --refcounts_[cluster_of(compressed_end_)];
      compressed_end_ = cluster << g.cluster_bits();
    }
  }
  const RawL2Entry raw = L2Mapping::encode_compressed({compressed_end_}, length, g);
  compressed_end_ += length;
  put_entry(guest_cluster, raw.descriptor, 0);
}

void SmallImage::take_snapshot() {
  const std::uint64_t l1 = append() << g.cluster_bits();
  std::memcpy(bytes.data() + l1, bytes.data() + l1_offset, kL1Entries * 8);
  snapshot_l1_offsets.push_back(l1);
  const L2Rules rules{g, !g.extended_l2(), false};
  for (std::uint64_t i = 0; i < kL1Entries; ++i) {
    if (l2_table(i) == 0) continue;
    ++refcounts_[cluster_of(l2_table(i))];
    for (std::uint64_t k = 0; k < g.l2_entries(); ++k) {
      const RawL2Entry raw = RawL2Entry::load(bytes.data() + l2_table(i), k, g);
      const L2Mapping mapping = L2Mapping::decode(raw, rules);
      if (mapping.kind == L2Mapping::Kind::standard && !mapping.has_host_cluster) continue;
      const std::uint64_t length =
          mapping.kind == L2Mapping::Kind::compressed ? mapping.compressed_bytes : g.cluster_size();
      for (std::uint64_t c = cluster_of(mapping.host_offset.value);
           c <= cluster_of(mapping.host_offset.value + length - 1); ++c) {
        ++refcounts_[c];
      }
    }
  }
}

void SmallImage::add_bitmap() {
  const std::uint64_t data_offset = append() << g.cluster_bits();
  bitmap_table_offset = append() << g.cluster_bits();
  bitmap_directory_offset = append() << g.cluster_bits();
  set64(bitmap_table_offset, data_offset);
  std::string entry;  // qcow2 spec, Bitmap directory
  append_big_endian<std::uint64_t>(entry, bitmap_table_offset);
  append_big_endian<std::uint32_t>(entry, 1);
  append_big_endian<std::uint32_t>(entry, 2);  // auto
  entry += {1, 16};                            // type, granularity_bits
  append_big_endian<std::uint16_t>(entry, 4);
  append_big_endian<std::uint32_t>(entry, 0);
  entry += "bits";
  std::memcpy(bytes.data() + bitmap_directory_offset, entry.data(), entry.size());
}

void SmallImage::add_encryption_header() { encryption_offset = append(3) << g.cluster_bits(); }

void SmallImage::write_snapshot_table() {
  if (snapshot_l1_offsets.empty()) return;
  std::string table;  // qcow2 spec, Snapshots
  for (const std::uint64_t l1 : snapshot_l1_offsets) {
    const std::string id = fmt::format("{}", table.size() / 64 + 1);
    append_big_endian<std::uint64_t>(table, l1);
    append_big_endian<std::uint32_t>(table, kL1Entries);
    append_big_endian<std::uint16_t>(table, static_cast<std::uint16_t>(id.size()));
    append_big_endian<std::uint16_t>(table, 4);
    table.append(20, '\0');  // dates, clock, VM state size
    append_big_endian<std::uint32_t>(table, 16);
    append_big_endian<std::uint64_t>(table, 0);
    append_big_endian<std::uint64_t>(table, kL1Entries * g.l1_entry_covers());
    table += id + "snap";
    table.resize((table.size() + 7) / 8 * 8);
  }
  snapshots_offset = append(g.clusters_for(table.size())) << g.cluster_bits();
  std::memcpy(bytes.data() + snapshots_offset, table.data(), table.size());
}

void SmallImage::write_header() {
  qcowkit::test::HeaderBytes header(shape.version, shape.cluster_bits);
  header.raw.size = kL1Entries * g.l1_entry_covers();
  header.raw.l1_size = kL1Entries;
  header.raw.l1_table_offset = l1_offset;
  header.raw.refcount_table_offset = refcount_table_offset;
  header.raw.nb_snapshots = static_cast<std::uint32_t>(snapshot_l1_offsets.size());
  header.raw.snapshots_offset = snapshots_offset;
  if (shape.version >= 3) {
    header.raw.refcount_order = shape.refcount_order;
    header.raw.incompatible_features = (shape.extended_l2 ? incompatible::kExtendedL2 : 0) |
                                       (shape.data_file ? incompatible::kDataFile : 0);
  }
  if (shape.data_file) header.extend(extension::kDataFileName, "data.raw");
  if (encryption_offset != 0) {
    header.raw.crypt_method = 2;
    std::string pointer;
    append_big_endian<std::uint64_t>(pointer, encryption_offset);
    append_big_endian<std::uint64_t>(pointer, 3 * g.cluster_size());
    header.extend(extension::kEncryptionHeader, pointer);
  }
  if (bitmap_directory_offset != 0) {
    header.raw.autoclear_features = autoclear::kBitmaps;
    std::string where;
    append_big_endian<std::uint32_t>(where, 1);
    append_big_endian<std::uint32_t>(where, 0);
    append_big_endian<std::uint64_t>(where, 32);
    append_big_endian<std::uint64_t>(where, bitmap_directory_offset);
    header.extend(extension::kBitmaps, where);
  }
  const std::vector<std::byte> first_cluster = header.bytes();
  std::copy(first_cluster.begin(), first_cluster.end(), bytes.begin());
}

void SmallImage::set_copied_flags() {
  for (std::uint64_t i = 0; i < kL1Entries; ++i) {
    const std::uint64_t table = l2_table(i);
    if (table == 0) continue;
    if (refcounts_[cluster_of(table)] == 1) flip(l1_entry(i), L1Entry::kCopied);
    for (std::uint64_t k = 0; k < g.l2_entries() && !shape.data_file; ++k) {
      RawL2Entry raw = RawL2Entry::load(bytes.data() + table, k, g);
      const std::uint64_t host_offset = raw.descriptor & RawL2Entry::kOffsetMask;
      if ((raw.descriptor & RawL2Entry::kCompressed) != 0 || host_offset == 0) continue;
      if (refcounts_[cluster_of(host_offset)] == 1) raw.descriptor |= RawL2Entry::kCopied;
      raw.store(bytes.data() + table, k, g);
    }
  }
}

void SmallImage::write_refcounts() {
  for (std::uint64_t cluster = 0; cluster < refcounts_.size(); ++cluster) {
    set_refcount(cluster, refcounts_[cluster]);
  }
}

SmallImage& SmallImage::finish() {
  write_snapshot_table();
  write_header();
  set_copied_flags();
  write_refcounts();
  return *this;
}

std::unique_ptr<Storage> SmallImage::storage() const {
  auto storage = make_memory_storage();
  storage->write(0, bytes);
  return storage;
}

void SmallImage::save(const std::string& path) const {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

Header read_header(Storage& storage) {
  std::vector<std::byte> first(std::min<std::uint64_t>(storage.size(), sizeof(RawHeader)));
  storage.read(0, first);
  first.resize(std::min(storage.size(), Header::bytes_wanted(first)));
  storage.read(0, first);
  return Header::decode(first, true);
}

CheckReport check(Storage& storage, Repair repair) {
  CheckOptions options;
  options.repair = repair;
  return check_image(storage, read_header(storage), options);
}

std::vector<std::string> guest_view(Storage& storage, const SmallImage& built) {
  const Header header = read_header(storage);
  const Geometry g = header.geometry();
  const L2Rules rules{g, !g.extended_l2(), header.has(incompatible::kDataFile)};
  std::vector<std::string> view;
  std::vector<std::byte> table(g.cluster_size());
  std::vector<std::byte> l1(std::size_t{header.l1_size} * 8);
  storage.read(header.l1_table_offset.value, l1);
  for (std::uint64_t i = 0; i < header.l1_size; ++i) {
    const L1Entry entry(load_big_endian<std::uint64_t>(l1.data() + i * 8));
    if (!entry.has_table() || !entry.is_aligned_to(g)) {
      view.insert(view.end(), g.l2_entries(), entry.has_table() ? "unreachable" : "nothing");
      continue;
    }
    storage.read(entry.l2_table().value, table);
    for (std::uint64_t k = 0; k < g.l2_entries(); ++k) {
      const L2Mapping mapping = L2Mapping::decode(RawL2Entry::load(table.data(), k, g), rules);
      std::string cluster = fmt::format("{} {} {:x} {:x} ", static_cast<int>(mapping.kind),
                                        mapping.has_host_cluster, mapping.allocated, mapping.zero);
      const bool reads_host = mapping.allocated != 0 || mapping.kind == L2Mapping::Kind::compressed;
      if (reads_host && !rules.data_file) {
        std::vector<std::byte> data(mapping.kind == L2Mapping::Kind::compressed
                                        ? mapping.compressed_bytes
                                        : g.cluster_size());
        storage.read(mapping.host_offset.value, data);
        cluster += fmt::format("{:x} ", mapping.host_offset.value);
        const std::uint64_t last = mapping.host_offset.value + data.size() - 1;
        if (built.data_clusters.contains(built.cluster_of(mapping.host_offset.value)) &&
            built.data_clusters.contains(built.cluster_of(last))) {
          cluster.append(reinterpret_cast<const char*>(data.data()), data.size());
        }
      }
      view.push_back(std::move(cluster));
    }
  }
  return view;
}

}  // namespace qcowkit::qcow2::test
