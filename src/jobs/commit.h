// What a commit does to the images.
#pragma once

#include "qcowkit/jobs.h"

namespace qcowkit {

/// Copies what the images from `top` down to above `base` say differently into `target`, an open
/// image that holds what `base` holds: usually `base` itself. See `commit`.
void merge_into(Image& top, Image& base, Image& target, const CommitOptions& options);

}  // namespace qcowkit
