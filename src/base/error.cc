#include "qcowkit/error.h"

#include <utility>

namespace qcowkit {

namespace {

class Category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "qcowkit"; }
  std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::not_an_image:
        return "not an image of this format";
      case Errc::corrupt:
        return "image is corrupt";
      case Errc::unsupported:
        return "feature is not supported";
      case Errc::invalid_argument:
        return "invalid argument";
      case Errc::read_only:
        return "image is read-only";
      case Errc::in_use:
        return "image is in use";
      case Errc::reference_refused:
        return "reference to another file refused";
      case Errc::limit_exceeded:
        return "limit exceeded";
      case Errc::cancelled:
        return "cancelled";
    }
    return "unknown error";
  }
};

}  // namespace

const std::error_category& error_category() noexcept {
  static const Category category;
  return category;
}

std::error_code make_error_code(Errc code) noexcept {
  return {static_cast<int>(code), error_category()};
}

Error::Error(std::error_code code, std::string message)
    : std::system_error(code), message_(std::move(message)) {}

Error Error::within(const std::string& context) const {
  return {code(), context + ": " + message_};
}

Error os_error(int errno_value, const std::string& context) {
  const std::error_code code(errno_value, std::generic_category());
  return {code, context + ": " + code.message()};
}

}  // namespace qcowkit
