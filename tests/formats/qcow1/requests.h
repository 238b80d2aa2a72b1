// A guest's requests on a version 1 image, and how the model of its disk follows.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/formats/qcow1/disk_shape.h"
#include "tests/support/disk_operation.h"
#include "tests/support/guest_model.h"

namespace qcowkit::test {

/// Shapes of disks that are small enough to be read whole again and again.
std::vector<Qcow1Shape> small_qcow1_shapes();

/// Requests for such a disk; every few of them a flush.
std::vector<Operation> draw_requests(const Qcow1Shape& shape, std::uint64_t seed,
                                     std::size_t count);

/// Makes the request. If it throws, it is still under way for the model. `check` empties the image:
/// nothing there can be checked.
void perform(const Operation& request, const Qcow1Shape& shape, Layer& layer, GuestModel& model);

}  // namespace qcowkit::test
