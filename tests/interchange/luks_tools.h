// The reference's tools on LUKS volumes.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/command.h"
#include "tests/support/reference_tools.h"

namespace qcowkit::test {

/// The words that define a secret for the reference.
inline std::vector<std::string> secret_object(const std::string& id, const std::string& text) {
  return {"--object", "secret,id=" + id + ",data=" + text};
}

/// How the reference opens a volume with the secret "key".
inline std::string luks_image_options(const std::string& path) {
  return "driver=luks,key-secret=key,file.filename=" + path;
}

inline std::vector<std::string> joined(std::vector<std::string> words,
                                       const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// Runs the commands in one `qemu-io` on the volume.
inline void qemu_io_luks(const std::string& path, const std::string& passphrase,
                         const std::vector<std::string>& commands) {
  std::vector<std::string> words = joined({"qemu-io"}, secret_object("key", passphrase));
  words = joined(words, {"--image-opts", luks_image_options(path)});
  for (const std::string& command : commands) words = joined(words, {"-c", command});
  const CommandResult result = run(words);
  if (!result.ok()) throw std::runtime_error(result.out + result.err);
}

/// What the reference reads from the volume. Leaves `path`.raw behind.
inline std::vector<std::byte> read_luks_by_reference(const std::string& path,
                                                     const std::string& passphrase) {
  qemu_img(joined(joined({"convert"}, secret_object("key", passphrase)),
                  {"--image-opts", luks_image_options(path), "-O", "raw", path + ".raw"}));
  return read_file(path + ".raw");
}

}  // namespace qcowkit::test
