// Names of other files that an image mentions.
#pragma once

#include <string>

namespace qcowkit {

/// The path that `name`, which has no protocol (`has_protocol`), means in the image at
/// `image_path`: relative names start from the image's folder.
std::string resolve_reference(const std::string& image_path, const std::string& name);

/// The path of the external data file called `name`. The reference takes relative names from the
/// working directory, unlike those of backing files; an image must mean one file to everybody.
/// "file:" may stand before a path. Throws `Error` (unsupported) naming the protocol of "nbd:..."
/// and the like.
std::string resolve_data_file(const std::string& name);

/// Something that is equal for two paths exactly if they lead to the same file.
std::string file_identity(const std::string& path);

}  // namespace qcowkit
