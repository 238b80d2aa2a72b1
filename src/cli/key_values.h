// Lists like "size=1G,backing_file=a,,b": what -o, --image-opts and --object take.
#pragma once

#include "base/option_list.h"

namespace qcowkit::cli {

using qcowkit::asks_for_help;
using qcowkit::escape_commas;
using qcowkit::is_joinable;
using qcowkit::KeyValue;
using qcowkit::parse_key_values;

}  // namespace qcowkit::cli
