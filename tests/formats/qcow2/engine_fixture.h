// New images in memory, for tests of the engine's parts.
#pragma once

#include <cstdint>
#include <memory>

#include "formats/qcow2/create.h"
#include "formats/qcow2/qcow2_layer.h"
#include "formats/qcow2/refcount_block.h"
#include "storage/memory_storage.h"

namespace qcowkit::test {

struct EngineOptions {
  std::uint64_t cluster_size = 4096;
  std::uint64_t size = 4 << 20;
  std::uint32_t refcount_bits = 16;
  std::uint32_t version = 3;
  bool extended_l2 = false;
  bool lazy_refcounts = false;
};

inline std::shared_ptr<MemoryStorage> make_engine_image(const EngineOptions& options = {}) {
  CreateOptions create;
  create.format = "qcow2";
  create.size_bytes = options.size;
  create.cluster_size_bytes = options.cluster_size;
  create.refcount_bits = options.refcount_bits;
  create.version = options.version;
  create.extended_l2 = options.extended_l2;
  create.lazy_refcounts = options.lazy_refcounts;
  auto storage = std::make_shared<MemoryStorage>("disk.qcow2");
  qcow2::create_image(*storage, nullptr, create);
  return storage;
}

inline std::uint64_t field_of(Storage& storage, std::uint64_t host_offset) {
  be64 raw;
  storage.read(host_offset, std::as_writable_bytes(std::span(&raw, 1)));
  return raw;
}

/// The refcount of a host cluster as the disk has it.
inline std::uint64_t refcount_on_disk(Storage& storage, HostOffset host_offset) {
  const qcow2::Header header = qcow2::Qcow2Layer::read_header(storage);
  const qcow2::Geometry g = header.geometry();
  const std::uint64_t cluster = host_offset.value >> g.cluster_bits();
  const std::uint64_t block = field_of(
      storage, header.refcount_table_offset.value + (cluster >> g.refcount_block_bits()) * 8);
  if (block == 0) return 0;
  std::vector<std::byte> bytes(g.cluster_size());
  storage.read(block, bytes);
  return qcow2::load_refcount(bytes.data(), cluster & (g.refcount_block_entries() - 1),
                              g.refcount_order());
}

}  // namespace qcowkit::test
