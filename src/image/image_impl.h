// What an Image holds.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "formats/layer.h"
#include "image/named.h"
#include "image/node_opener.h"
#include "image/open_layer.h"
#include "qcowkit/image.h"
#include "qcowkit/node.h"

namespace qcowkit {

/// Tells the chain of a change when it is over, also where it failed halfway.
class ChangeNote {
 public:
  enum class Of { content, whole_disk };
  explicit ChangeNote(Layer& layer, Of what = Of::content) noexcept : layer_(layer), what_(what) {}
  ~ChangeNote() {
    if (what_ == Of::whole_disk) {
      layer_.forget_chain();
    } else {
      layer_.note_change();
    }
  }
  ChangeNote(const ChangeNote&) = delete;
  ChangeNote& operator=(const ChangeNote&) = delete;

 private:
  Layer& layer_;
  const Of what_;
};

struct Image::Impl {
  std::string filename;  ///< as users are shown it
  std::string format;
  bool is_guessed_raw = false;     ///< no format was named, and no other one was found
  std::string file;                ///< what the bytes of `layer.storage()` lie in
  std::string backing_path;        ///< what the stored backing name means; empty: none, or nothing
  std::unique_ptr<Image> backing;  // outlives the layer, which reads from it
  std::unique_ptr<Layer> layer;
  NodeLabel label;
  NodeLabel file_label;  ///< of what the layer lies in; of the node itself if it is no format
  bool is_over_protocol = false;  ///< what the layer lies in has a file name of its own
  NodeOptions node;               ///< as it was opened; empty: in a storage of the caller's
  OpenOptions options;            ///< as it was opened
  Impl* overlay = nullptr;        ///< the image whose backing file this is, if it is one
  bool write_through = false;     ///< each change is durable when its call returns
  bool ignores_discards = false;
  DetectZeroes detect_zeroes = DetectZeroes::off;
  bool closed = false;

  static Impl& of(Image& image) noexcept { return *image.impl_; }
  static std::unique_ptr<Image> make(std::unique_ptr<Impl> impl) {
    return std::unique_ptr<Image>(new Image(std::move(impl)));
  }

  /// Throws `Error` (invalid_argument) unless the range lies within the disk.
  void require_range(std::uint64_t guest_offset, std::uint64_t length_bytes) const;

  /// Runs a changing request on the layer.
  template <typename Request>
  void change(Request request) {
    const ChangeNote note(*layer);
    named(filename, [&] {
      request(*layer);
      if (write_through) layer->flush();
    });
  }

  /// Runs a change that may be one of the disk's size.
  template <typename Work>
  void change_whole(Work work) {
    const ChangeNote note(*layer, ChangeNote::Of::whole_disk);
    named(filename, [&] { work(*layer); });
  }

  Extent to_extent(std::uint64_t guest_offset, const LayerExtent& found) const;

  /// Opens the node anew with other options; the backing file stays.
  void reopen(const NodeOptions& new_node, const OpenOptions& new_options);

  /// Opens the node and its backing file. `opener` has counted it.
  static std::unique_ptr<Image> open_node(NodeOpener& opener, NodeOptions node,
                                          const OpenOptions& options);
  /// Opens what lies in `storage`.
  static std::unique_ptr<Image> open_in_storage(std::unique_ptr<Storage> storage,
                                                const OpenOptions& options);

 private:
  /// Opens everything but the backing file. Returns what the image says of that. What the node
  /// says about itself goes into `own`.
  BackingReference open_layer_of(NodeOpener& opener, NodeReader& reader, OpenOptions& own);
  std::unique_ptr<Storage> open_data_file(NodeOpener& opener, NodeReader& reader,
                                          const OpenOptions& own, const std::string* stored_name);
  void open_backing(NodeOpener& opener, NodeReader& reader, const BackingReference& stored,
                    const OpenOptions& own);
  void read_request_options(const OpenOptions& own);
  void make_label();
};

}  // namespace qcowkit
