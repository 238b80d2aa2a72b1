// The command line tool that the tests run.
#pragma once

#include <string>

namespace qcowkit::test {

/// The path of the tool that was built with the tests, or of another one, which QCOWKIT_TOOL in the
/// environment names: so the programs of a plain build test the tool of a sanitized one.
const std::string& tool();

/// Whether the tool may be slow to start, as a sanitized one is, for tests that do less then.
bool tool_is_slow();

}  // namespace qcowkit::test
