#include "tests/formats/qcow1/requests.h"

#include <random>

#include "base/checked.h"

namespace qcowkit::test {

std::vector<Qcow1Shape> small_qcow1_shapes() {
  return {
      {"Usual", 12, 6, 300 * 1024 + 512},
      {"SmallTables", 9, 6, 80 * 1024},
      {"SmallTablesTinyCache", 9, 6, 200 * 1024 + 100, false, false, 1},
      {"OverBackingTinyCache", 9, 12, 150 * 1024 + 512, true, false, 1},
      {"OverBacking", 12, 6, 300 * 1024, true},
      {"LargeClusters", 16, 6, 260 * 1024, true},
      {"Encrypted", 9, 6, 80 * 1024, false, true},
      {"EncryptedOverBacking", 12, 6, 300 * 1024 + 512, true, true},
  };
}

std::vector<Operation> draw_requests(const Qcow1Shape& shape, std::uint64_t seed,
                                     std::size_t count) {
  constexpr std::size_t kRequestsPerFlush = 9;
  std::mt19937_64 random(seed);
  std::vector<Operation> requests = draw_operations(
      random, {shape.size_bytes, shape.cluster_size(), shape.table_covers()}, count);
  for (std::size_t i = kRequestsPerFlush; i < requests.size(); i += kRequestsPerFlush) {
    requests[i] = {};
  }
  return requests;
}

void perform(const Operation& request, const Qcow1Shape& shape, Layer& layer, GuestModel& model) {
  const GuestOffset begin{request.guest_offset};
  const std::uint64_t length = request.length_bytes;
  const auto bytes = recognisable_bytes(request.content, begin.value, length);
  switch (request.kind) {
    case OperationKind::write:
    case OperationKind::write_in_place:
      model.begin(begin.value, bytes);
      layer.write(begin, bytes);
      return model.acknowledge();
    case OperationKind::write_compressed:
      model.begin(begin.value, bytes);
      layer.write_compressed(begin, layer.compress(bytes, 0), bytes);
      return model.acknowledge();
    case OperationKind::write_zeroes:
    case OperationKind::write_zeroes_unmap:
      model.begin(begin.value, std::vector<std::byte>(length));
      layer.write_zeroes(begin, length, request.kind != OperationKind::write_zeroes);
      return model.acknowledge();
    case OperationKind::discard: {
      const std::uint64_t from = align_up(begin.value, shape.cluster_size());
      const std::uint64_t end = begin.value + length;
      const std::uint64_t to =
          end == shape.size_bytes ? end : align_down(end, shape.cluster_size());
      const bool has_effect = !shape.has_backing && from < to;
      if (has_effect) model.begin(from, std::vector<std::byte>(to - from));
      layer.discard(begin, length);
      if (has_effect) model.acknowledge();
      return;
    }
    case OperationKind::check:
      model.begin(0, qcow1_initial_content(shape));
      layer.make_empty();
      model.acknowledge();
      return model.flushed();
    case OperationKind::flush:
      layer.flush();
      return model.flushed();
    default:
      return;
  }
}

}  // namespace qcowkit::test
