// What guests ask of a disk.
#include "tests/crash/requests.h"

#include <fmt/core.h>

#include <algorithm>

namespace qcowkit::test {

namespace {

std::uint64_t below(Random& random, std::uint64_t end) { return random() % end; }

/// Ranges with ends that are in turn at bytes, sectors and clusters.
void draw_range(Request& request, const Shape& shape, Random& random) {
  constexpr std::uint64_t kHotClusters = 12;
  const std::uint64_t cluster_size = shape.cluster_size();
  const std::uint64_t disk = shape.disk_bytes();
  const std::uint64_t hot_bytes = std::min(disk, kHotClusters * cluster_size);
  std::uint64_t unit = 1;
  switch (below(random, 4)) {
    case 0:
      break;
    case 1:
      unit = 512;
      break;
    default:
      unit = cluster_size;
  }
  // The disk's end is a place of its own.
  const std::uint64_t near_end = disk - std::min(disk, 3 * cluster_size);
  const std::uint64_t place = below(random, 8);
  const std::uint64_t offset = place < 5    ? below(random, hot_bytes)
                               : place == 5 ? near_end + below(random, disk - near_end)
                                            : below(random, disk);
  request.guest_offset = offset / unit * unit;
  const std::uint64_t clusters_max = below(random, 6) == 0 ? 24 : 3;
  const std::uint64_t length = 1 + below(random, std::max(unit, cluster_size) * clusters_max);
  request.length_bytes = std::min((length + unit - 1) / unit * unit, disk - request.guest_offset);
}

/// The part of a discard that is whole clusters; the end of the disk ends one.
void shrink_to_clusters(const Shape& shape, std::uint64_t& begin, std::uint64_t& end) {
  const std::uint64_t cluster_size = shape.cluster_size();
  begin = (begin + cluster_size - 1) / cluster_size * cluster_size;
  if (end != shape.disk_bytes()) end = end / cluster_size * cluster_size;
  end = std::max(begin, end);
}

}  // namespace

std::string to_string(const Request& request) {
  switch (request.kind) {
    case Request::Kind::write:
      return fmt::format("write {:#x}+{:#x}", request.guest_offset, request.length_bytes);
    case Request::Kind::write_zeroes:
      return fmt::format("write_zeroes {:#x}+{:#x}{}", request.guest_offset, request.length_bytes,
                         request.may_unmap ? " unmap" : "");
    case Request::Kind::discard:
      return fmt::format("discard {:#x}+{:#x}", request.guest_offset, request.length_bytes);
    case Request::Kind::write_compressed:
      return fmt::format("write_compressed {:#x}+{:#x}", request.guest_offset,
                         request.length_bytes);
    case Request::Kind::flush:
      break;
  }
  return "flush";
}

std::vector<Request> random_requests(const Shape& shape, std::size_t count, Random& random) {
  std::vector<Request> requests(count);
  for (Request& request : requests) {
    const std::uint64_t draw = below(random, 20);
    request.kind = draw < 10   ? Request::Kind::write
                   : draw < 13 ? Request::Kind::write_zeroes
                   : draw < 15 ? Request::Kind::discard
                   : draw < 17 ? Request::Kind::write_compressed
                               : Request::Kind::flush;
    if (request.kind == Request::Kind::write_compressed && shape.has_data_file()) {
      request.kind = Request::Kind::write;
    }
    if (request.kind == Request::Kind::flush) continue;
    draw_range(request, shape, random);
    request.may_unmap = below(random, 2) == 0;
    request.fill = random();
    if (request.kind == Request::Kind::write_compressed) {
      request.guest_offset -= request.guest_offset % shape.cluster_size();
      request.length_bytes =
          std::min(shape.cluster_size(), shape.disk_bytes() - request.guest_offset);
    }
  }
  return requests;
}

void perform(const Request& request, const Shape& shape, Layer& layer, GuestModel& model) {
  const GuestOffset guest_offset{request.guest_offset};
  switch (request.kind) {
    case Request::Kind::write: {
      const std::vector<std::byte> bytes =
          recognisable_bytes(request.fill, request.guest_offset, request.length_bytes);
      model.begin(request.guest_offset, bytes);
      layer.write(guest_offset, bytes);
      break;
    }
    case Request::Kind::write_zeroes:
      model.begin(request.guest_offset, std::vector<std::byte>(request.length_bytes));
      layer.write_zeroes(guest_offset, request.length_bytes, request.may_unmap);
      break;
    case Request::Kind::discard: {
      std::uint64_t begin = request.guest_offset;
      std::uint64_t end = begin + request.length_bytes;
      shrink_to_clusters(shape, begin, end);
      const std::uint64_t zeroed = shape.can_discard() ? end - begin : 0;
      model.begin(begin < shape.disk_bytes() ? begin : 0, std::vector<std::byte>(zeroed));
      layer.discard(guest_offset, request.length_bytes);
      break;
    }
    case Request::Kind::write_compressed: {
      const std::vector<std::byte> plain =
          recognisable_bytes(request.fill, request.guest_offset, request.length_bytes);
      model.begin(request.guest_offset, plain);
      layer.write_compressed(guest_offset, layer.compress(plain, 0), plain);
      break;
    }
    case Request::Kind::flush:
      layer.flush();
      model.flushed();
      return;
  }
  model.acknowledge();
}

}  // namespace qcowkit::test
