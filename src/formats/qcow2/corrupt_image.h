// How the qcow2 code reports that an image contradicts itself.
#pragma once

#include <string>

#include "qcowkit/error.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

/// The image in `storage` is damaged. Who was about to change that image marks it corrupt.
class CorruptImage : public Error {
 public:
  CorruptImage(const Storage& storage, std::string message)
      : Error(Errc::corrupt, std::move(message)), storage_(&storage) {}

  bool is_about(const Storage& storage) const noexcept { return storage_ == &storage; }

 private:
  const Storage* storage_;
};

}  // namespace qcowkit::qcow2
