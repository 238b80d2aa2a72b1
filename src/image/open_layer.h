// From an opened storage to a layer: the formats' options and headers.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "formats/layer.h"
#include "qcowkit/options.h"
#include "qcowkit/storage.h"

namespace qcowkit {

class NodeReader;

/// What an image says of its backing file.
struct BackingReference {
  std::string name = {};     ///< empty: none
  std::string format = {};   ///< empty: not said
  bool is_possible = false;  ///< images of this format can have one
};

struct OpenedLayer {
  std::unique_ptr<Layer> layer;
  BackingReference backing;
};

struct LayerRequest {
  std::string format;
  bool is_guessed_raw = false;  ///< nobody said that the format is raw
  std::unique_ptr<Storage> storage;
  OpenOptions options;
  /// Opens the external data file. `stored_name` is what the image calls it; null if the image has
  /// none, and then null comes back unless the options name one all the same.
  std::function<std::unique_ptr<Storage>(const std::string* stored_name)> open_data_file;
};

/// Reads the format's options from `reader` and opens the layer. Throws `Error`.
OpenedLayer open_layer(LayerRequest request, NodeReader& reader);

/// The format of what lies in `storage`, by its first bytes.
std::string probe_storage(Storage& storage);

}  // namespace qcowkit
