// Nodes of the driver "quorum".
#include <fmt/core.h>

#include <limits>

#include "image/storage_drivers.h"
#include "storage/quorum_storage.h"

namespace qcowkit::drivers {

namespace {

Error invalid(std::string message) { return {Errc::invalid_argument, std::move(message)}; }

/// The children's options in their order.
std::vector<NodeOptions> take_children(NodeReader& reader) {
  std::vector<NodeOptions> children;
  const NodeOptions all = reader.all().child("children");
  while (true) {
    const std::string name = fmt::format("children.{}", children.size());
    if (!reader.has(name) && !reader.has_child(name)) break;
    children.push_back(reader.take_child_or_reference(name));
  }
  reader.take_text("children");
  if (reader.has_child("children")) throw invalid("Option children is not a valid array");
  if (children.empty()) throw invalid("Number of provided children must be 1 or more");
  return children;
}

QuorumOptions read_options(NodeReader& reader, std::size_t children) {
  QuorumOptions options;
  const std::uint64_t threshold = reader.take_number("vote-threshold").value_or(0);
  if (threshold == 0 || threshold > std::numeric_limits<std::int64_t>::max()) {
    throw invalid("Parameter 'vote-threshold' expects a value >= 1");
  }
  if (threshold > children) throw invalid("threshold may not exceed children count");
  options.vote_threshold = threshold;
  const std::string pattern = reader.take_text("read-pattern").value_or("quorum");
  if (pattern != "quorum" && pattern != "fifo") {
    throw invalid("Please set read-pattern as fifo or quorum");
  }
  if (pattern == "fifo") options.read_pattern = QuorumReadPattern::fifo;
  options.blkverify = reader.take_boolean("blkverify").value_or(false);
  options.rewrite_corrupted = reader.take_boolean("rewrite-corrupted").value_or(false);
  return options;
}

}  // namespace

OpenedNode open_quorum(NodeOpener& opener, NodeReader& reader, const OpenOptions& options) {
  std::vector<NodeOptions> nodes = take_children(reader);
  QuorumOptions quorum = read_options(reader, nodes.size());
  quorum.on_mismatch = options.on_mismatch;
  std::vector<std::unique_ptr<Storage>> children;
  std::string list;
  for (NodeOptions& node : nodes) {
    OpenedNode child =
        opener.open_storage(std::move(node), options_of_filtered(options), NodeRole::image);
    if (!list.empty()) list += ", ";
    list += child.label.json;
    children.push_back(std::move(child.storage));
  }
  LabelBuilder label("quorum");
  label.add_strong_options(require_driver("quorum"), reader.all());
  label.add_json("children", fmt::format("[{}]", list));
  OpenedNode opened;
  opened.label = {.exact = {}, .json = label.json(), .location = {}, .driver = "quorum"};
  opened.storage = make_quorum_storage(std::move(children), quorum);
  return opened;
}

}  // namespace qcowkit::drivers
