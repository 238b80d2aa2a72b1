// --untrusted: images from strangers, which may name files of this machine.
#include "cli/untrusted.h"

#include <fmt/core.h>

#include <cstdlib>
#include <string_view>

#include "cli/failure.h"

namespace qcowkit::cli {

namespace {

/// For programs that call the tool and cannot be told to add an option.
bool environment_distrusts() {
  const char* const value = std::getenv("QCOWKIT_UNTRUSTED");
  return value != nullptr && *value != '\0' && std::string_view(value) != "0";
}

bool& are_distrusted() {
  static bool distrusted = environment_distrusts();
  return distrusted;
}

}  // namespace

void distrust_images() { are_distrusted() = true; }

References allowed_references() { return are_distrusted() ? References::none() : References{}; }

void require_allowed(const std::string& path) {
  const References references = allowed_references();
  if (!references.allow || references.allow(path)) return;
  throw Failure(
      fmt::format("Could not open '{}': files that the image refers to may not be opened", path));
}

}  // namespace qcowkit::cli
