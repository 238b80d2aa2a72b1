#include "formats/qcow2/create.h"

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "crypto/luks.h"
#include "formats/encrypted_io.h"
#include "formats/qcow2/create_plan.h"
#include "formats/qcow2/header.h"
#include "formats/qcow2/l1_entry.h"
#include "formats/qcow2/l2_entry.h"
#include "formats/qcow2/layout.h"
#include "formats/qcow2/limits.h"
#include "formats/qcow2/refcount_block.h"

namespace qcowkit::qcow2 {

namespace {

/// What is written at once: at least a cluster of the largest size.
constexpr std::size_t kWriteBufferBytes = 4u << 20;
static_assert(kWriteBufferBytes >= std::size_t{1} << kClusterBitsMax);

/// Gathers tables that lie side by side into large writes.
class TableWriter {
 public:
  explicit TableWriter(Storage& storage) : storage_(storage), buffer_(kWriteBufferBytes) {}

  /// Room for `size_bytes` at `host_offset`, zeroed, to be filled before the next call.
  std::span<std::byte> table(std::uint64_t host_offset, std::size_t size_bytes) {
    if (host_offset != host_offset_ + used_ || size_bytes > buffer_.size() - used_) {
      write_out();
      host_offset_ = host_offset;
    }
    const auto room = buffer_.span().subspan(used_, size_bytes);
    std::ranges::fill(room, std::byte{0});
    used_ += size_bytes;
    return room;
  }
  /// To be called at the end: the destructor writes nothing.
  void write_out() {
    if (used_ != 0) storage_.write(host_offset_, buffer_.span().first(used_));
    used_ = 0;
  }

 private:
  Storage& storage_;
  Buffer buffer_;
  std::uint64_t host_offset_ = 0;
  std::size_t used_ = 0;
};

/// A table of 64-bit entries that may be larger than the buffer.
template <typename EntryAt>
void write_words(TableWriter& writer, std::uint64_t host_offset, std::uint64_t count,
                 const EntryAt& entry_at) {
  constexpr std::uint64_t kWordsAtOnce = 8192;
  for (std::uint64_t first = 0; first < count; first += kWordsAtOnce) {
    const std::uint64_t words = std::min(kWordsAtOnce, count - first);
    const auto room = writer.table(host_offset + first * 8, words * 8);
    for (std::uint64_t i = 0; i < words; ++i) {
      store_big_endian<std::uint64_t>(room.data() + i * 8, entry_at(first + i));
    }
  }
}

void write_refcount_table(TableWriter& writer, const Layout& layout, const Geometry& g) {
  const std::uint64_t entries =
      layout.refcount_table_clusters * g.refcount_table_entries_per_cluster();
  write_words(writer, layout.refcount_table_cluster << g.cluster_bits(), entries,
              [&](std::uint64_t i) -> std::uint64_t {
                if (i >= layout.refcount_blocks.size()) return 0;
                return layout.refcount_blocks[i] << g.cluster_bits();
              });
}

void write_refcount_blocks(TableWriter& writer, const Layout& layout, const Geometry& g) {
  const auto count_once = [&](std::byte* block, std::uint64_t clusters) {
    for (std::uint64_t i = 0; i < clusters; ++i) store_refcount(block, i, g.refcount_order(), 1);
  };
  std::vector<std::byte> all_used;  // what all blocks but the last look like
  for (std::uint64_t block = 0; block < layout.refcount_blocks.size(); ++block) {
    const auto room =
        writer.table(layout.refcount_blocks[block] << g.cluster_bits(), g.cluster_size());
    const std::uint64_t first = block << g.refcount_block_bits();
    if (layout.end_cluster - first < g.refcount_block_entries()) {
      count_once(room.data(), layout.end_cluster - first);
    } else {
      if (all_used.empty()) {
        all_used.resize(g.cluster_size());
        count_once(all_used.data(), g.refcount_block_entries());
      }
      std::ranges::copy(all_used, room.data());
    }
    if (layout.unused_cluster && *layout.unused_cluster >> g.refcount_block_bits() == block) {
      store_refcount(room.data(), *layout.unused_cluster - first, g.refcount_order(), 0);
    }
  }
}

/// Writes the L2 tables; with extended entries no subcluster is allocated, so that preallocated
/// clusters still show the backing file.
void write_l2_tables(TableWriter& writer, const Layout& layout, const Header& header) {
  const Geometry g = header.geometry();
  // The host clusters hold zeroes, which decrypt to something else.
  const bool says_zero =
      header.crypt_method != crypt_method::kNone && header.version >= 3 && !g.extended_l2();
  const std::uint64_t flags = RawL2Entry::kCopied | (says_zero ? RawL2Entry::kZero : 0);
  auto run = layout.data.begin();
  std::span<std::byte> room;
  for (std::uint64_t table = 0; table < layout.l2_tables.size(); ++table) {
    room = writer.table(layout.l2_tables[table] << g.cluster_bits(), g.cluster_size());
    const std::uint64_t begin = table << g.l2_bits();
    const std::uint64_t end = begin + g.l2_entries();
    for (std::uint64_t guest = begin; run != layout.data.end() && guest < end; ++guest) {
      const std::uint64_t host = run->host_cluster + (guest - run->guest_cluster);
      const RawL2Entry entry{host << g.cluster_bits() | flags, 0};
      entry.store(room.data(), guest - begin, g);
      if (guest + 1 == run->guest_cluster + run->count) ++run;
    }
  }
}

void write_l1_table(TableWriter& writer, const Layout& layout, const Geometry& g) {
  write_words(writer, layout.l1_table_cluster << g.cluster_bits(), layout.l1_entries,
              [&](std::uint64_t i) {
                return layout.l2_tables.empty()
                           ? 0
                           : L1Entry::table({layout.l2_tables[i] << g.cluster_bits()}, true).raw();
              });
}

/// Empties the storage and gives it its size. What it held is durably no image any more: otherwise
/// a crash could leave the old header above the new tables.
void make_room(Storage& storage, const Layout& layout, const Geometry& g,
               Preallocation preallocation) {
  if (!storage.can_grow()) {
    storage.resize(layout.file_bytes, Preallocation::off);  // throws if the device is too small
    storage.write_zeroes(0, g.cluster_size(), {});
    storage.flush();
    // The L1 table is written without the rest of its last cluster.
    storage.write_zeroes(layout.l1_table_cluster << g.cluster_bits(),
                         g.clusters_for(layout.l1_entries * 8) << g.cluster_bits(), {});
  } else {
    if (storage.size() != 0) {
      storage.resize(0, Preallocation::off);
      storage.flush();
    }
    if (provides_space(preallocation) && !layout.data.empty()) {
      const Layout::DataRun& data = layout.data.front();  // all of it, as it lies in one piece
      storage.resize(data.host_cluster << g.cluster_bits(), Preallocation::off);
      storage.resize((data.host_cluster + data.count) << g.cluster_bits(), preallocation);
    }
    storage.resize(layout.file_bytes, Preallocation::off);
  }
}

/// Data clusters of a new disk read as zeroes. A device has old content there.
void clear_data(Storage& storage, std::uint64_t host_offset, std::uint64_t length_bytes,
                Preallocation preallocation) {
  if (storage.can_grow() || length_bytes == 0) return;
  storage.write_zeroes(host_offset, length_bytes, {.may_unmap = !provides_space(preallocation)});
}

void make_data_file(Storage& data_file, std::uint64_t size_bytes, Preallocation preallocation) {
  if (data_file.can_grow()) data_file.resize(0, Preallocation::off);
  data_file.resize(size_bytes, preallocation);
  clear_data(data_file, 0, size_bytes, preallocation);
  data_file.flush();
}

/// Makes the file an image in one write of one sector, once everything else is durable.
void write_header(Storage& storage, std::vector<std::byte> header_bytes, std::size_t cluster_size) {
  header_bytes.resize(cluster_size);
  std::vector<std::byte> first_sector(header_bytes.begin(), header_bytes.begin() + kSectorBytes);
  std::fill_n(header_bytes.begin(), sizeof(RawHeader::magic), std::byte{0});
  storage.write(0, header_bytes);
  storage.flush();
  storage.write(0, first_sector);
  storage.flush();
}

/// Writes the key material; and in version 2 images, whose entries cannot say so, encrypted zeroes
/// to preallocated clusters.
void encrypt(Storage& storage, Storage* data_file, const CreatePlan& plan,
             const CreateOptions& options) {
  const Header& header = plan.header;
  if (header.crypt_method == crypt_method::kNone) return;
  std::unique_ptr<crypto::SectorCipher> cipher;
  if (header.encryption) {
    cipher = crypto::create_luks({storage, header.encryption->offset, header.encryption->length},
                                 options.luks, *options.secret);
  } else {
    cipher = crypto::make_old_aes_cipher(*options.secret);
  }
  if (header.version >= 3) return;
  for (const Layout::DataRun& run : plan.layout.data) {
    const HostOffset host_offset{run.host_cluster << header.cluster_bits};
    const std::uint64_t guest_offset = run.guest_cluster << header.cluster_bits;
    const bool by_host = header.crypt_method == crypt_method::kLuks;
    write_encrypted_zeroes({data_file != nullptr ? *data_file : storage, *cipher, host_offset,
                            by_host ? host_offset.value : guest_offset},
                           run.count << header.cluster_bits);
  }
}

}  // namespace

void validate_create_options(const CreateOptions& options) {
  static_cast<void>(CreatePlan(options));
}

void create_image(Storage& storage, Storage* data_file, const CreateOptions& options) {
  const CreatePlan plan(options);
  const Header& header = plan.header;
  const Geometry g = header.geometry();
  if (header.data_file) {
    make_room(storage, plan.layout, g, Preallocation::off);
    if (data_file != nullptr) make_data_file(*data_file, header.size, options.preallocation);
  } else {
    make_room(storage, plan.layout, g, options.preallocation);
    for (const Layout::DataRun& run : plan.layout.data) {
      clear_data(storage, run.host_cluster << g.cluster_bits(), run.count << g.cluster_bits(),
                 options.preallocation);
    }
  }

  TableWriter writer(storage);
  write_refcount_table(writer, plan.layout, g);
  write_refcount_blocks(writer, plan.layout, g);
  write_l1_table(writer, plan.layout, g);
  write_l2_tables(writer, plan.layout, header);
  writer.write_out();
  encrypt(storage, data_file, plan, options);
  write_header(storage, plan.header_bytes, g.cluster_size());
}

}  // namespace qcowkit::qcow2
