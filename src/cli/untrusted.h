// --untrusted: images from strangers, which may name files of this machine.
#pragma once

#include <string>

#include "qcowkit/options.h"

namespace qcowkit::cli {

/// From then on no file is opened because an image names it. Called before any image is opened.
void distrust_images();

/// Which files an image may bring in: all, or none after `distrust_images` or where the environment
/// asks for it (QCOWKIT_UNTRUSTED).
References allowed_references();

/// Throws `Failure` unless an image may bring in the file, which a command is about to open itself.
void require_allowed(const std::string& path);

}  // namespace qcowkit::cli
