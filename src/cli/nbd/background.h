// Servers that go on in the background, and the file that says which process they are.
#pragma once

#include <optional>
#include <string>

namespace qcowkit::cli::nbd {

/// Goes on in a child process while the parent waits until `ready`; what goes wrong before is the
/// parent's failure, too. To be made before there are threads.
class Background {
 public:
  /// In the parent, does not return but ends the process with the child's result. Throws `Failure`.
  Background();
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  /// The server runs: lets go of the parent and of its standard streams.
  void ready();

 private:
  int ready_fd_ = -1;
};

/// A file with this process's id, there while this object lives.
class PidFile {
 public:
  /// Throws `Failure` if the file cannot be written, or another running process holds it.
  explicit PidFile(std::string path);
  ~PidFile();
  PidFile(const PidFile&) = delete;
  PidFile& operator=(const PidFile&) = delete;

 private:
  const std::string path_;
  int fd_ = -1;
};

}  // namespace qcowkit::cli::nbd
