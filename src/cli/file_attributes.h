// Attributes that some file systems let an empty file have.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace qcowkit::cli {

struct FileAttributes {
  bool no_copy_on_write = false;                        ///< btrfs: write in place
  std::optional<std::uint32_t> extent_size_hint_bytes;  ///< XFS: allocate in units of this size
};

/// Gives the file `path`, which is made if it is not there, those attributes that are set. They are
/// hints: a file system that does not know them, or a file that has data already, is left as it is.
/// Throws `Error` if the file can neither be opened nor made.
void apply_file_attributes(const std::string& path, const FileAttributes& attributes);

/// The extent size hint of the file; nothing where it has none.
std::optional<std::uint32_t> extent_size_hint_bytes(const std::string& path);

}  // namespace qcowkit::cli
