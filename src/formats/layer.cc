#include "formats/layer.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"

namespace qcowkit {

namespace {

/// A layer's clusters, kept where they are for a scope.
class LayerPin {
 public:
  explicit LayerPin(Layer& layer) noexcept : layer_(layer), slot_(layer.pin()) {}
  ~LayerPin() { layer_.unpin(slot_); }
  LayerPin(const LayerPin&) = delete;
  LayerPin& operator=(const LayerPin&) = delete;

 private:
  Layer& layer_;
  std::uint32_t slot_;
};

}  // namespace

void Layer::read(GuestOffset guest_offset, std::span<std::byte> into) {
  const std::uint64_t size = virtual_size();
  const std::uint64_t inside =
      guest_offset.value >= size ? 0
                                 : std::min<std::uint64_t>(into.size(), size - guest_offset.value);
  if (inside < into.size()) {
    std::memset(into.data() + inside, 0, into.size() - inside);
    into = into.first(inside);
  }
  if (!into.empty()) read_inside(guest_offset, into);
}

void Layer::read_inside(GuestOffset guest_offset, std::span<std::byte> into) {
  while (!into.empty()) {
    const LayerPin pin(*this);
    const LayerExtent extent = map(guest_offset, into.size());
    read_run(guest_offset, extent, into.first(extent.length_bytes));
    guest_offset += extent.length_bytes;
    into = into.subspan(extent.length_bytes);
  }
}

void Layer::read_run(GuestOffset guest_offset, const LayerExtent& extent,
                     std::span<std::byte> into) {
  switch (extent.kind) {
    case ExtentKind::data:
      storage().raise(Event::read_aio, guest_offset.value, into.size());
      if (extent.is_encrypted) {
        read_encrypted(guest_offset, extent, into);
        return;
      }
      extent.storage->read(extent.host_offset.value, into);
      return;
    case ExtentKind::compressed:
      read_compressed(guest_offset, extent, into);
      return;
    case ExtentKind::unallocated:
      if (backing_ != nullptr) {
        storage().raise(Event::read_backing_aio, guest_offset.value, into.size());
        visit_backing(guest_offset, into.size(),
                      [&](Layer& layer, GuestOffset begin, std::uint64_t bytes) {
                        layer.read(begin, into.subspan(begin - guest_offset, bytes));
                        return true;
                      });
        return;
      }
      [[fallthrough]];
    case ExtentKind::zero:
      std::memset(into.data(), 0, into.size());
      return;
  }
}

bool Layer::is_known_zero(GuestOffset guest_offset, std::uint64_t length_bytes) {
  const std::uint64_t size = virtual_size();
  if (guest_offset.value >= size) return true;
  length_bytes = std::min(length_bytes, size - guest_offset.value);
  while (length_bytes > 0) {
    const LayerExtent extent = map(guest_offset, length_bytes);
    bool is_zero = extent.kind == ExtentKind::zero || extent.kind == ExtentKind::unallocated;
    if (extent.kind == ExtentKind::unallocated && backing_ != nullptr) {
      visit_backing(guest_offset, extent.length_bytes,
                    [&](Layer& layer, GuestOffset begin, std::uint64_t bytes) {
                      is_zero = layer.is_known_zero(begin, bytes);
                      return is_zero;
                    });
    }
    if (!is_zero) return false;
    guest_offset += extent.length_bytes;
    length_bytes -= extent.length_bytes;
  }
  return true;
}

std::size_t Layer::map_runs(GuestOffset guest_offset, std::uint64_t length_bytes,
                            std::span<LayerExtent> into) {
  std::size_t count = 0;
  while (count < into.size() && length_bytes > 0) {
    into[count] = map(guest_offset, length_bytes);
    guest_offset += into[count].length_bytes;
    length_bytes -= into[count].length_bytes;
    ++count;
  }
  return count;
}

// --- The chain ---------------------------------------------------------------------------------

namespace {

/// Shorter chains are walked sooner than looked up.
constexpr std::uint32_t kLayersBehindMin = 3;
constexpr std::uint64_t kChainUnitBytesMin = 4096;

}  // namespace

void Layer::set_backing(Layer* backing) noexcept {
  backing_ = backing;
  layers_behind_ = backing == nullptr ? 0 : backing->layers_behind_ + 1;
  if (backing != nullptr) backing->has_overlay_ = true;
  if (has_overlay_) {
    // Those above have this layer's.
    for (Layer* layer = backing; layer != nullptr; layer = layer->backing_) {
      layer->chain_generation_ = chain_generation_;
    }
  } else if (backing != nullptr) {
    chain_generation_ = backing->chain_generation_;
  }
  forget_chain();
}

std::uint64_t Layer::chain_unit_bytes() const noexcept {
  return std::max(cluster_size(), kChainUnitBytesMin);
}

/// Calls `visit(layer, begin, bytes)` for the parts of a range that this layer does not store, with
/// the layer that is to be asked instead, until it returns false.
template <typename Visit>
void Layer::visit_backing(GuestOffset guest_offset, std::uint64_t length_bytes, Visit visit) {
  // Only the uppermost layer remembers: what the others need is bounded so.
  if (layers_behind_ < kLayersBehindMin || has_overlay_) {
    visit(*backing_, guest_offset, length_bytes);
    return;
  }
  const std::uint64_t unit_bytes = chain_unit_bytes();
  const GuestOffset end = guest_offset + length_bytes;
  while (guest_offset < end) {
    Layer& layer = first_storing(guest_offset);
    GuestOffset run_end = guest_offset;
    do {
      run_end = {align_down(run_end.value, unit_bytes) + unit_bytes};
    } while (run_end < end && &first_storing(run_end) == &layer);
    run_end = std::min(run_end, end);
    if (!visit(layer, guest_offset, run_end - guest_offset)) return;
    guest_offset = run_end;
  }
}

/// The first layer behind this one that may have something in the offset's unit.
Layer& Layer::first_storing(GuestOffset guest_offset) {
  const std::uint64_t unit_bytes = chain_unit_bytes();
  const std::uint64_t generation = chain_generation_->load(std::memory_order_acquire);
  if (Layer* known = chain_cache_.find(guest_offset.value / unit_bytes, generation)) return *known;
  return look_for_first_storing({align_down(guest_offset.value, unit_bytes)}, generation);
}

/// What the range's first byte is to a layer that is to be passed by; what is not simply
/// unallocated is for the layer itself to read.
LayerExtent Layer::run_to_pass(GuestOffset guest_offset, std::uint64_t length_bytes) {
  LayerExtent to_be_read;
  to_be_read.kind = ExtentKind::data;
  to_be_read.length_bytes = length_bytes;
  const std::uint64_t size = virtual_size();
  // Behind its end a layer is zeroes, whatever those below have. Who listens is to hear of reads.
  if (guest_offset.value >= size || storage().listener() != nullptr) return to_be_read;
  try {
    return map(guest_offset, std::min(length_bytes, size - guest_offset.value));
  } catch (const Error&) {
    return to_be_read;  // whoever does read there is told
  }
}

Layer& Layer::look_for_first_storing(GuestOffset unit_begin, std::uint64_t generation) {
  const std::uint64_t unit_bytes = chain_unit_bytes();
  const std::uint64_t unit = unit_begin.value / unit_bytes;
  const std::uint64_t disk_end = virtual_size();
  if (unit_begin.value >= disk_end) return *backing_;  // the disk has just become smaller
  // So many, from this one on, none of the layers passed has anything in.
  std::uint64_t units = ChainCache::kUnitsInRegion - unit % ChainCache::kUnitsInRegion;
  Layer* layer = backing_;
  for (; layer->backing_ != nullptr; layer = layer->backing_) {
    const LayerExtent run =
        layer->run_to_pass(unit_begin, std::min(units * unit_bytes, disk_end - unit_begin.value));
    const bool is_to_the_end = (unit_begin + run.length_bytes).value >= disk_end;
    const std::uint64_t whole_units = is_to_the_end ? divide_round_up(run.length_bytes, unit_bytes)
                                                    : run.length_bytes / unit_bytes;
    units = std::clamp<std::uint64_t>(whole_units, 1, units);
    if (run.kind != ExtentKind::unallocated || whole_units == 0) break;
  }
  chain_cache_.learn(unit, unit + units, generation, layer);
  return *layer;
}

}  // namespace qcowkit
