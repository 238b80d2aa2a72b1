#include "qcowkit/secret.h"

#include <cstring>
#include <utility>

namespace qcowkit {

Secret Secret::of_size(std::size_t size_bytes) {
  Secret secret;
  secret.bytes_.resize(size_bytes);
  return secret;
}

Secret& Secret::operator=(const Secret& other) {
  if (this == &other) return *this;
  wipe();
  bytes_ = other.bytes_;
  return *this;
}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this == &other) return *this;
  wipe();
  bytes_ = std::move(other.bytes_);
  return *this;
}

void Secret::wipe() noexcept {
  // Unlike memset, it is not optimised away.
  if (!bytes_.empty()) explicit_bzero(bytes_.data(), bytes_.size());
  bytes_.clear();
}

}  // namespace qcowkit
