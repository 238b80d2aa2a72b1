// Libraries that are loaded when they are first used.
#include "base/shared_library.h"

#include <dlfcn.h>
#include <fmt/core.h>

#include "qcowkit/error.h"

namespace qcowkit {

SharedLibrary::SharedLibrary(const char* file, const char* purpose)
    : file_(file), purpose_(purpose), handle_(::dlopen(file, RTLD_NOW | RTLD_LOCAL)) {
  if (handle_ == nullptr) fail();
}

void* SharedLibrary::find_symbol(const char* name) const {
  void* const symbol = ::dlsym(handle_, name);
  if (symbol == nullptr) fail();
  return symbol;
}

void SharedLibrary::fail() const {
  throw Error(Errc::unsupported, fmt::format("{} needs the library {}, which cannot be loaded: {}",
                                             purpose_, file_, ::dlerror()));
}

}  // namespace qcowkit
