// Anti-forensic splitting (LUKS specification, "Anti-forensic splitter"): a secret is blown up so
// that it is lost when any part of it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "crypto/hash.h"
#include "qcowkit/secret.h"

namespace qcowkit::crypto {

/// Fills `into`, which has `stripes` times the secret's size.
void split_secret(const HashAlgorithm& hash, const Secret& secret, std::uint32_t stripes,
                  std::span<std::byte> into);

/// The secret of `secret_bytes`, from what `split_secret` made of it.
Secret merge_secret(const HashAlgorithm& hash, std::size_t secret_bytes, std::uint32_t stripes,
                    std::span<const std::byte> from);

}  // namespace qcowkit::crypto
