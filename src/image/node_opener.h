// Opens trees of nodes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "image/node_label.h"
#include "qcowkit/image.h"
#include "qcowkit/node.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// A node that has become a storage.
struct OpenedNode {
  std::unique_ptr<Storage> storage;
  NodeLabel label;
  const Driver* driver = nullptr;
};

/// What a node is wanted as where it names no driver.
enum class NodeRole {
  image,     ///< its child "file" is opened, and the format found out
  protocol,  ///< the file itself
};

/// One opening on its way down a tree. Copies go different ways and count together.
class NodeOpener {
 public:
  NodeOpener() : shared_(std::make_shared<Shared>()) {}
  /// An opener that looks at everything as if the images with these files were above.
  explicit NodeOpener(std::vector<std::string> overlay_files)
      : shared_(std::make_shared<Shared>()),
        overlay_(std::make_shared<Overlay>(std::move(overlay_files), nullptr)) {}

  /// Opens a child. What nobody knows throws `Error`.
  OpenedNode open_storage(NodeOptions node, const OpenOptions& options, NodeRole role);
  std::unique_ptr<Image> open_image(NodeOptions node, const OpenOptions& options);

  /// The opener of the backing file of an image that has these `files`. Where the caller's own
  /// options name the backing file (`by_caller`), the policy is not asked: the image has no part in
  /// it.
  NodeOpener for_backing(const std::vector<std::string>& files, bool by_caller) const;
  /// The opener of an external data file that an image names.
  NodeOpener for_reference() const;

  /// To be called with every path before it is opened. Throws `Error`: the caller's policy refuses
  /// it, the chain is too long, or it comes back to a file.
  void enter_file(const OpenOptions& options, const std::string& path);
  /// The same for what lies in no file.
  void enter_other(const OpenOptions& options, const std::string& name) const;
  /// Throws unless the name is well-formed and new.
  void enter_name(const std::string& node_name);

  /// The files that were opened so far for the image that is being opened.
  const std::vector<std::string>& files() const noexcept { return files_; }

 private:
  struct Shared {
    std::size_t nodes = 0;
    std::set<std::string> names;
  };
  /// Identities of the files of an image above, and what is above that one. A chain's openers share
  /// them: copies would grow with the square of its length.
  struct Overlay {
    Overlay(std::vector<std::string> own_files, std::shared_ptr<const Overlay> overlay)
        : files(std::move(own_files)), above(std::move(overlay)) {}
    std::vector<std::string> files;
    std::shared_ptr<const Overlay> above;
  };
  bool is_above(const std::string& identity) const;
  /// One node deeper. Throws if that is too deep, or one too many.
  NodeOpener deeper() const;

  std::shared_ptr<Shared> shared_;
  std::size_t depth_ = 0;
  std::uint32_t chain_depth_ = 1;           ///< images from the top of the chain to here
  bool is_reference_ = false;               ///< an image has named this
  std::shared_ptr<const Overlay> overlay_;  ///< those above in the chain
  std::vector<std::string> files_;          ///< identities of those of this image
};

/// Reads the options that every node has into `options`.
void read_generic_options(NodeReader& reader, OpenOptions& options, NodeOpener& opener);

/// How the child of a format is opened.
OpenOptions options_of_file(const OpenOptions& options);
/// How the child of a filter is opened.
OpenOptions options_of_filtered(const OpenOptions& options);

}  // namespace qcowkit
