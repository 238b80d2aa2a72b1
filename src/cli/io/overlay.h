// Images whose changes are kept aside.
#pragma once

#include <memory>

#include "cli/io/temporary_file.h"
#include "cli/open_arguments.h"
#include "qcowkit/image.h"

namespace qcowkit::cli::io {

/// Opens an overlay in `file`, made anew, that lies over the image: what is written goes there.
/// Throws `Failure` or `Error`.
std::unique_ptr<Image> open_with_overlay(const TemporaryFile& file, const ImageName& name,
                                         const NodeObjects& objects, const OpenOptions& options);

}  // namespace qcowkit::cli::io
