// ISA-L, loaded when it is first used: most commands compress nothing, and loading it would be a
// tenth of their time.
#pragma once

#include <isa-l/igzip_lib.h>

namespace qcowkit::codec {

/// The functions of ISA-L that are called. Thread-safe.
struct IsalLibrary {
  /// Null where the library is not installed.
  static const IsalLibrary* find() noexcept;

  decltype(&::isal_deflate_stateless_init) deflate_stateless_init;
  decltype(&::isal_deflate_stateless) deflate_stateless;

 private:
  IsalLibrary();
};

}  // namespace qcowkit::codec
