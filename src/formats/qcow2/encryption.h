// How a qcow2 image's guest data is encrypted (qcow2 spec, Full disk encryption header pointer).
#pragma once

#include <memory>

#include "crypto/luks.h"
#include "crypto/sector_cipher.h"
#include "formats/qcow2/header.h"
#include "qcowkit/info.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

/// Where the LUKS header of an image lies that has one.
crypto::LuksArea luks_area(const Header& header, Storage& storage);

/// What decrypts the image's clusters. Throws `Error`: invalid_argument for a passphrase that opens
/// nothing, corrupt, unsupported.
std::unique_ptr<crypto::SectorCipher> make_cipher(const Header& header, Storage& storage,
                                                  const Secret& secret);

/// Tells of the method and, with LUKS, of the header.
void describe_encryption(const Header& header, Storage& storage, ImageInfo& info);

}  // namespace qcowkit::qcow2
