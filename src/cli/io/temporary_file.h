// Files that nobody else can find.
#pragma once

#include <string>

namespace qcowkit::cli::io {

/// An empty file without a name in the directory for temporary files (TMPDIR, else /var/tmp). It is
/// gone when it is closed here and by all who have opened it.
class TemporaryFile {
 public:
  /// Throws `Error`.
  TemporaryFile();
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  /// By which this process can open it.
  std::string path() const;

 private:
  int fd_;
};

}  // namespace qcowkit::cli::io
