// Libraries that are loaded when they are first used, because loading them and all that they need
// would be most of the time that a short command takes.
#pragma once

namespace qcowkit {

/// A library that stays loaded to the end of the process.
class SharedLibrary {
 public:
  /// Loads `file`, looked up as the dynamic linker does, for what people call `purpose`. Throws
  /// `Error` (unsupported) where it cannot be loaded.
  SharedLibrary(const char* file, const char* purpose);

  /// Finds a function by its name. Throws as above where the library has none.
  template <typename Function>
  void find(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(find_symbol(name));
  }

 private:
  void* find_symbol(const char* name) const;
  [[noreturn]] void fail() const;

  const char* const file_;
  const char* const purpose_;
  void* const handle_;
};

}  // namespace qcowkit
