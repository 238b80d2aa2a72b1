// The runtime options of formats.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "image/node_reader.h"
#include "qcowkit/info.h"
#include "qcowkit/options.h"

namespace qcowkit {

/// Reads the options that qcow2 has besides those of encryption and other files.
void read_qcow2_options(NodeReader& reader, OpenOptions& options);

/// What the options say of an image's encryption.
struct EncryptionChoice {
  std::optional<std::string> format = {};
  std::optional<std::string> key_secret = {};
};

/// `prefix` is what stands in front of the options' names ("encrypt." or nothing).
EncryptionChoice read_encryption_options(NodeReader& reader, const std::string& prefix);

/// Puts the passphrase that `choice` refers to into `options`, as `options.unlock` says. To be
/// called for encrypted images. Throws `Error` in the reference's words.
void find_passphrase(const EncryptionChoice& choice, const std::string& prefix,
                     OpenOptions& options);

/// Throws unless an image with this kind of encryption is what the options say.
void require_encryption(const EncryptionChoice& choice, EncryptionFormat found);

/// Throws if an unknown option of the encryption is left.
void require_encryption_options_known(const NodeReader& reader);

}  // namespace qcowkit
