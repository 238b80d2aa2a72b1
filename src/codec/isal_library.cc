// ISA-L, loaded when it is first used.
#include "codec/isal_library.h"

#include <exception>

#include "base/shared_library.h"

namespace qcowkit::codec {

IsalLibrary::IsalLibrary() {
  const SharedLibrary library("libisal.so.2", "Fast compression");
  library.find("isal_deflate_stateless_init", deflate_stateless_init);
  library.find("isal_deflate_stateless", deflate_stateless);
}

const IsalLibrary* IsalLibrary::find() noexcept {
  static const IsalLibrary* const found = []() -> const IsalLibrary* {
    try {
      static const IsalLibrary library;
      return &library;
    } catch (const std::exception&) {
      return nullptr;
    }
  }();
  return found;
}

}  // namespace qcowkit::codec
