// -T, --trace: the engine's events, printed as they happen.
#include "cli/trace.h"

#include <fmt/core.h>

#include "cli/failure.h"

namespace qcowkit::cli {

void enable_trace(std::string_view /*program*/, std::string_view text) {
  throw Failure(fmt::format("tracing is not supported: {}", text));
}

std::shared_ptr<EventListener> trace_listener() { return nullptr; }

}  // namespace qcowkit::cli
