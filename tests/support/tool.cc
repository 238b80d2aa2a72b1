#include "tests/support/tool.h"

#include <cstdlib>

#include "tests/support/sanitized.h"

namespace qcowkit::test {

namespace {

const char* other_tool() { return std::getenv("QCOWKIT_TOOL"); }

}  // namespace

const std::string& tool() {
  static const std::string path = other_tool() != nullptr ? other_tool() : QCOWKIT_BUILT_TOOL;
  return path;
}

bool tool_is_slow() { return kIsSanitized || other_tool() != nullptr; }

}  // namespace qcowkit::test
