// Nodes of the driver "blkdebug", and its rules as options.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>
#include <span>

#include "image/storage_drivers.h"
#include "storage/blkdebug.h"

namespace qcowkit::drivers {

namespace {

Error invalid(std::string message) { return {Errc::invalid_argument, std::move(message)}; }

BlkdebugEvent read_event(NodeReader& rule) {
  const std::optional<std::string> name = rule.take_text("event");
  if (!name) throw invalid("Missing event name for rule");
  const std::optional<BlkdebugEvent> event = find_blkdebug_event(*name);
  if (!event) throw invalid(fmt::format("Invalid event name \"{}\"", *name));
  return *event;
}

std::uint32_t read_number(NodeReader& rule, std::string_view key) {
  return static_cast<std::uint32_t>(rule.take_number(key).value_or(0));
}

BlkdebugInjectError read_inject_error(NodeReader& rule) {
  BlkdebugInjectError error;
  error.event = read_event(rule);
  error.state = read_number(rule, "state");
  if (const auto iotype = rule.take_text("iotype")) {
    error.iotype = find_blkdebug_io_type(*iotype);
    if (!error.iotype) throw invalid(fmt::format("Invalid iotype value: '{}'", *iotype));
  }
  if (const auto number = rule.take_number("errno")) error.errno_value = static_cast<int>(*number);
  if (const auto sector = rule.take_number("sector")) {
    if (*sector <= std::numeric_limits<std::int64_t>::max()) error.sector = *sector;
  }
  error.once = rule.take_boolean("once").value_or(false);
  error.immediately = rule.take_boolean("immediately").value_or(false);
  return error;
}

BlkdebugSetState read_set_state(NodeReader& rule) {
  BlkdebugSetState change;
  change.event = read_event(rule);
  change.state = read_number(rule, "state");
  change.new_state = read_number(rule, "new_state");
  return change;
}

/// The rules "section.0.*", "section.1.*", ...
template <typename Rule>
void read_rules(NodeReader& reader, std::string_view section, Rule (*read)(NodeReader&),
                std::span<const std::string_view> known, std::vector<Rule>& rules) {
  for (std::size_t index = 0;; ++index) {
    const std::string name = fmt::format("{}.{}", section, index);
    if (!reader.has_child(name)) return;
    NodeReader rule(reader.take_child(name));
    for (const auto& [key, value] : rule.all().values()) {
      if (std::ranges::find(known, key) != known.end()) continue;
      throw invalid(fmt::format("[{}] section doesn't support the option '{}'", section, key));
    }
    rules.push_back(read(rule));
  }
}

constexpr std::array<std::string_view, 7> kInjectErrorOptions = {
    "event", "state", "iotype", "errno", "sector", "once", "immediately"};
constexpr std::array<std::string_view, 3> kSetStateOptions = {"event", "state", "new_state"};

void read_lengths(NodeReader& reader, BlkdebugOptions& options) {
  const std::pair<std::string_view, std::uint64_t*> lengths[] = {
      {"align", &options.align},
      {"max-transfer", &options.max_transfer},
      {"opt-write-zero", &options.opt_write_zero},
      {"max-write-zero", &options.max_write_zero},
      {"opt-discard", &options.opt_discard},
      {"max-discard", &options.max_discard},
  };
  for (const auto& [key, length] : lengths) *length = reader.take_size(key).value_or(0);
}

}  // namespace

OpenedNode open_blkdebug(NodeOpener& opener, NodeReader& reader, const OpenOptions& options) {
  BlkdebugOptions rules;
  const std::string config = reader.take_text("config").value_or("");
  if (!config.empty()) {
    opener.enter_other(options, config);
    read_blkdebug_config(config, rules);
  }
  read_rules(reader, "inject-error", read_inject_error, kInjectErrorOptions, rules.inject_error);
  read_rules(reader, "set-state", read_set_state, kSetStateOptions, rules.set_state);
  OpenedNode child = opener.open_storage(reader.take_required_child("image"),
                                         options_of_filtered(options), NodeRole::protocol);
  read_lengths(reader, rules);

  const Driver& driver = require_driver("blkdebug");
  OpenedNode opened;
  opened.label = label_over(driver, reader.all(), "image", child.label);
  opened.label.hides_allocation = true;
  NodeOptions without_config = reader.all();
  without_config.remove("config");
  const bool is_nameable = !LabelBuilder(driver.name).add_strong_options(driver, without_config);
  if (is_nameable && !child.label.exact.empty()) {
    opened.label.exact = fmt::format("blkdebug:{}:{}", config, child.label.exact);
  }
  opened.storage = make_blkdebug(std::move(child.storage), rules);
  return opened;
}

}  // namespace qcowkit::drivers
