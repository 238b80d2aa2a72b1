// Text that is shown on a terminal.
#pragma once

#include <string>
#include <string_view>

namespace qcowkit::cli {

/// `text` with what a terminal would act upon shown instead, as in "\x1b": names in it may come
/// from a stranger's image. Line ends, tabs, colours and bold print stay, and a carriage return at
/// the end, which is progress.
std::string for_terminal(std::string_view text);

}  // namespace qcowkit::cli
