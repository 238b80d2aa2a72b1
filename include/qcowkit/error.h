// Part of qcowkit. MIT licence; see LICENSE.
//
// How every public call reports failure: it throws `qcowkit::Error`.
//
//   try {
//     image->write(0, bytes);
//   } catch (const qcowkit::Error& error) {
//     if (error.code() == std::errc::no_space_on_device) return wait_for_space();
//     if (error.code() == qcowkit::Errc::corrupt) return repair();
//     log(error.what());  // "disk.qcow2: L1 table: ..."
//   }
#pragma once

#include <string>
#include <system_error>

namespace qcowkit {

/// The short, stable list of failures that are qcowkit's own. Failures of the operating system
/// keep their errno instead: `e.code() == std::errc::no_space_on_device` works.
enum class Errc {
  not_an_image = 1,   ///< the file is not of the format that was asked for
  corrupt,            ///< a structure of the image contradicts the specification
  unsupported,        ///< something that exists, and that this format or this build does not offer
  invalid_argument,   ///< the caller's request or option makes no sense
  read_only,          ///< a write to an image that is open, or may only be opened, read-only
  in_use,             ///< another process holds a conflicting lock on the file
  reference_refused,  ///< the caller's `References` policy forbids opening a referenced file
  limit_exceeded,     ///< a named limit (table size, chain depth, ...) is exceeded
  cancelled,          ///< the caller's stop token was triggered
};

/// The category "qcowkit" of codes that come from an `Errc`.
const std::error_category& error_category() noexcept;
/// Found by `std::error_code`, so that `error.code() == Errc::in_use` compiles.
std::error_code make_error_code(Errc code) noexcept;

/// A failure: a code that a program can act on and a message that a person can act on. The
/// message is built outside in as the error rises: operation, file, structure, value, expectation.
/// Calls may also throw `std::bad_alloc`, and whatever the caller's own callbacks throw. An
/// argument that only a bug can bring about (a null pointer, say) is not an error but undefined.
class Error : public std::system_error {
 public:
  Error(std::error_code code, std::string message);
  Error(Errc code, std::string message) : Error(make_error_code(code), std::move(message)) {}

  /// The whole message, and nothing but it (no suffix is added).
  const char* what() const noexcept override { return message_.c_str(); }
  const std::string& message() const noexcept { return message_; }

  /// The same error one level further out: "`context`: message".
  Error within(const std::string& context) const;

 private:
  std::string message_;
};

/// An `Error` that carries `errno_value` and reads "`context`: strerror text".
Error os_error(int errno_value, const std::string& context);

}  // namespace qcowkit

template <>
struct std::is_error_code_enum<qcowkit::Errc> : std::true_type {};
