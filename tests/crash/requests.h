// What guests ask of a disk, drawn at random, and how the model follows.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tests/crash/image_files.h"
#include "tests/support/guest_model.h"

namespace qcowkit::test {

struct Request {
  enum class Kind { write, write_zeroes, discard, write_compressed, flush };

  Kind kind = Kind::flush;
  std::uint64_t guest_offset = 0;
  std::uint64_t length_bytes = 0;
  bool may_unmap = false;  ///< write_zeroes
  std::uint64_t fill = 0;  ///< write, write_compressed: see `recognisable_bytes`
};

std::string to_string(const Request& request);

using Random = std::mt19937_64;

/// A mixture in which parts of the disk are changed again and again, and others once in a while.
std::vector<Request> random_requests(const Shape& shape, std::size_t count, Random& random);

/// Makes the request. If it throws, it is still under way for the model.
void perform(const Request& request, const Shape& shape, Layer& layer, GuestModel& model);

}  // namespace qcowkit::test
