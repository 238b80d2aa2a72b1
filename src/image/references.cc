#include "image/references.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <filesystem>

#include "qcowkit/error.h"

namespace qcowkit {

namespace {

/// The part before the first ':' if the name has one before any '/', else empty.
std::string protocol_of(const std::string& name) {
  const std::size_t end = name.find_first_of(":/");
  return end != std::string::npos && name[end] == ':' ? name.substr(0, end) : std::string();
}

/// The path in a name that may have "file:" in front.
std::string path_in(const std::string& name) {
  const std::string protocol = protocol_of(name);
  if (protocol.empty()) return name;
  if (protocol == "file") return name.substr(sizeof("file:") - 1);
  throw Error(Errc::unsupported,
              fmt::format("'{}': protocol '{}' is not supported", name, protocol));
}

}  // namespace

std::string resolve_data_file(const std::string& name) { return path_in(name); }

std::string resolve_reference(const std::string& image_path, const std::string& name) {
  if (name.empty() || name.front() == '/') return name;
  const std::size_t folder_end = image_path.rfind('/');
  return folder_end == std::string::npos ? name : image_path.substr(0, folder_end + 1) + name;
}

std::string file_identity(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return fmt::format("{}:{}", status.st_dev, status.st_ino);
  return std::filesystem::path(path).lexically_normal().string();
}

}  // namespace qcowkit
