// Files that nobody else can find.
#include "cli/io/temporary_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "qcowkit/error.h"

namespace qcowkit::cli::io {

namespace {

/// What is kept here may be large, which not every /tmp is made for.
std::string directory() {
  const char* wanted = std::getenv("TMPDIR");
  return wanted != nullptr && *wanted != '\0' ? wanted : "/var/tmp";
}

}  // namespace

TemporaryFile::TemporaryFile() {
  std::string name = directory() + "/qcow.XXXXXX";
  fd_ = ::mkostemp(name.data(), O_CLOEXEC);
  if (fd_ < 0) throw os_error(errno, name);
  ::unlink(name.c_str());
}

TemporaryFile::~TemporaryFile() { ::close(fd_); }

std::string TemporaryFile::path() const { return fmt::format("/proc/self/fd/{}", fd_); }

}  // namespace qcowkit::cli::io
