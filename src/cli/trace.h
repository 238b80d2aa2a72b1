// -T, --trace: the engine's events, printed as they happen.
#pragma once

#include <memory>
#include <string_view>

#include "qcowkit/events.h"

namespace qcowkit::cli {

/// Reads what -T or --trace says ("[[enable=]PATTERN][,events=FILE][,file=FILE]") and traces what
/// matches from then on, besides what earlier calls asked for. Called before any image is opened.
/// Events that do not exist are warned of on standard error. Throws `Failure`, and `HelpText` with
/// all events' names where the pattern is "help".
void enable_trace(std::string_view program, std::string_view text);

/// Who is told of the events of each image that the tool opens; null: tracing is off.
std::shared_ptr<EventListener> trace_listener();

}  // namespace qcowkit::cli
