// Command lines that are looked at word by word, so that of several mistakes the first one is told.
#include "cli/in_order.h"

#include <string>
#include <vector>

#include "cli/failure.h"
#include "cli/objects.h"

namespace qcowkit::cli {

Arguments parse_in_order(std::span<const std::string_view> words, std::span<const OptionSpec> specs,
                         LastWord last_word, const LookAtOptions& look_at) {
  std::vector<std::string> objects;
  const auto look_at_option = [&](const Arguments& so_far) {
    const Arguments::Given& option = so_far.sequence().back();
    if (option.name == "object") objects.push_back(option.value);
    // Help is shown at once, if nothing was wrong until then.
    if (option.name == "help") parse_all_objects(objects);
    look_at(so_far);
  };
  try {
    return parse_arguments(words, specs, last_word, look_at_option);
  } catch (const Failure&) {
    // Elsewhere they are made once, by the command: a secret may come from a pipe.
    parse_all_objects(objects);
    throw;
  }
}

}  // namespace qcowkit::cli
